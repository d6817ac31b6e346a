"""One entry of DSG's manifest: which files have one, and its exact bytes.

The bytes are those of orjson.dumps for the entry: compact JSON, UTF-8 unescaped, keys in the order
written here. `entries_hash` covers these bytes.

Raises: OverflowError, for a time after the year 9999.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

TIME_ZONE = ZoneInfo("America/Los_Angeles")

# json.dumps() would make an encoder for every call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_IGNORED_NAMES = frozenset(
    {b"__pycache__", b".Rdata", b".rdata", b".RData", b".Rproj.user", b".DS_Store"}
)
_IGNORED_SUFFIXES = (b".pyc", b".tmp")
# What DSG's client keeps of a file in conflict: NAME~20250101T120000-0800~. The expression is the
# client's own: it also accepts other digits than ASCII, and a line feed at the end.
_BACKUP = re.compile(r"~\d{8}T\d{6}-\d{4}~$")

# It follows the path, in which every quotation mark is escaped.
_USER = re.compile(rb'","user":"([^"]*)","')


@dataclass(frozen=True)
class Described:
    """What an entry says besides its path: `digest` for a file, `reference` for a link."""

    user: str
    digest: str | None = None
    reference: str | None = None


def is_listed_name(name: bytes) -> bool:
    """Say whether a manifest may list a file or directory with this name."""
    if name.startswith(b".") or name in _IGNORED_NAMES or name.endswith(_IGNORED_SUFFIXES):
        return False
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not name.endswith((b"~", b"~\n")) or _BACKUP.search(text) is None


def is_listed_link(path: bytes, reference: bytes) -> bool:
    """Say whether the symbolic link at `path` has an entry, by its target `reference`."""
    parts = reference.split(b"/")
    try:
        reference.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not reference.startswith(b"/") and parts.count(b"..") <= path.count(b"/") + 1


def is_listed(path: bytes, reference: bytes | None = None) -> bool:
    """Say whether a manifest lists the file at `path`, or the link at `path` to `reference`."""
    if not all(is_listed_name(name) for name in path.split(b"/")):
        return False
    return reference is None or is_listed_link(path, reference)


def file_entry(path: bytes, *, user: str, size: int, mtime: float, digest: str) -> bytes:
    """Return the entry of a regular file; `mtime` is st_mtime as a float, which DSG reads."""
    return (b'{"type":"file","path":%b,"user":%b,"filesize":%d,"mtime":"%b","hash":"%b"}') % (
        to_json(path.decode()),
        to_json(user),
        size,
        local_time(mtime).encode(),
        digest.encode(),
    )


def link_entry(path: bytes, *, user: str, reference: str) -> bytes:
    """Return the entry of a symbolic link."""
    return b'{"type":"link","path":%b,"user":%b,"reference":%b}' % (
        to_json(path.decode()),
        to_json(user),
        to_json(reference),
    )


def describe(entry: bytes) -> Described:
    """Return the content of `entry`."""
    document = json.loads(entry)
    return Described(document["user"], document.get("hash"), document.get("reference"))


def user_of(entry: bytes) -> str:
    """Return who pushed `entry`: much faster than `describe`."""
    found = _USER.search(entry)
    if found is None or b"\\" in found[1]:
        return describe(entry).user
    return found[1].decode()


def path_in_json(entry: bytes) -> bytes:
    """Return the path of `entry` as a JSON string with its quotes."""
    start = entry.index(b'"path":') + len(b'"path":')
    return entry[start : entry.index(b'","user":', start) + 1]


def local_time(timestamp: float) -> str:
    """Return seconds since the epoch as DSG writes times; OverflowError after the year 9999."""
    try:
        return datetime.fromtimestamp(timestamp, TIME_ZONE).isoformat(timespec="seconds")
    except (ValueError, OSError) as error:
        raise OverflowError(f"no year for {timestamp}") from error


def to_json(value: Any) -> bytes:
    """Return `value` as compact JSON, as orjson writes it."""
    return _ENCODER.encode(value).encode()
