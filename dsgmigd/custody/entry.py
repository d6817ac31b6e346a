r"""What the evidence says of one path: one line of JSON in ASCII, in one form only.

    {"path":"data/a.csv","kind":"file","mode":"0644","uid":1000,"gid":1000,
     "mtime_ns":1700000000123456789,"links":1,"size":3,"sha256":"…"}

The keys come in this order, without blanks. Every entry has those up to `mtime_ns`; then follow,
where they apply: `links` (how many names a file has), `size` and `sha256` of a regular file,
`target` of a symbolic link, `device` ([major, minor]) of a device, `xattrs` (values in base64, by
name) of whatever has some. The root of the snapshot has the path "". Bytes that are not UTF-8 are
written as `\udc80` to `\udcff` (PEP 383). docs/custody.md describes the format for others.

Raises: ValueError, if a line is none of these.
"""

import base64
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["file", "directory", "link", "fifo", "socket", "character device", "block device"]

_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_BY_NAME: dict[str, Kind] = {kind: kind for kind in _KINDS.values()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One path, as bytes relative to the root of the snapshot; times in nanoseconds."""

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    links: int | None = None
    size: int | None = None
    sha256: str | None = None
    target: bytes | None = None
    device: tuple[int, int] | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return the entry as its line, without a newline."""
        return json.dumps(self._document(), separators=(",", ":")).encode("ascii")

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "path": os.fsdecode(self.path),
            "kind": self.kind,
            "mode": f"{self.mode:04o}",
            "uid": self.uid,
            "gid": self.gid,
            "mtime_ns": self.mtime_ns,
        }
        if self.links is not None:
            document["links"] = self.links
        if self.sha256 is not None:
            document |= {"size": self.size, "sha256": self.sha256}
        if self.target is not None:
            document["target"] = os.fsdecode(self.target)
        if self.device is not None:
            document["device"] = list(self.device)
        if self.xattrs:
            names = sorted(self.xattrs)
            document["xattrs"] = {one: _to_base64(self.xattrs[one]) for one in names}
        return document


def kind_of(mode: int) -> Kind:
    """Return the kind of a file by its `st_mode`."""
    return _KINDS[stat.S_IFMT(mode)]


def path_of(line: bytes) -> bytes:
    """Return the path in a line."""
    return os.fsencode(json.loads(line)["path"])


def parse_line(line: bytes) -> Entry:
    """Return the entry in a line; ValueError unless it is written exactly as `Entry.line` does."""
    try:
        told = json.loads(line)
        device = told.get("device")
        entry = Entry(
            path=os.fsencode(told["path"]),
            kind=_BY_NAME[told["kind"]],
            mode=int(told["mode"], 8),
            uid=told["uid"],
            gid=told["gid"],
            mtime_ns=told["mtime_ns"],
            links=told.get("links"),
            size=told.get("size"),
            sha256=told.get("sha256"),
            target=os.fsencode(told["target"]) if "target" in told else None,
            device=(device[0], device[1]) if device else None,
            xattrs={
                name: base64.b64decode(value) for name, value in told.get("xattrs", {}).items()
            },
        )
        is_same = entry.line() == line
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no entry of evidence: {line[:200]!r}") from error
    if not is_same:
        raise ValueError(f"an entry of evidence in another form: {line[:200]!r}")
    return entry


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
