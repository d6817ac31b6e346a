"""The push log: who made a snapshot, when and why.

The form of a line is in `push_line`. Its message may contain " | ", and an empty one is written as
`--`. The repository's name is data, not a pattern; the name of its normalised copy, `SV-norm`,
means the same repository: no other can have this name. A file may begin with a byte order mark.

Every snapshot contains the same growing log. `PushLogs` takes all of them, the newest first, in
linear time: a file that is the beginning of a newer one adds nothing and is only compared with it
byte by byte; in any other file, the lines of newer files are looked up and not parsed. Each
distinct line is therefore parsed once, and contradictions between files are still found. Memory has
a bound, whatever the files are: of lines that were read, digests are kept, and a limited number.

Raises: nothing; what cannot be read is a warning, and is noted for the snapshots it may concern.
"""

import codecs
import io
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import xxhash

from dsgmigd.dsg.push_line import Push, named_snapshot, parse_line
from dsgmigd.names import RepoName, SnapshotName

_CONTENTS_KEPT = 8
_DIGESTS_KEPT = 1_000_000
_WARNINGS_SHOWN = 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class LogFile:
    """One push log; `origin` names it in warnings, `problem` is why it could not be read."""

    origin: str
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True)
class _Record:
    """The content of a line, and its position."""

    push: Push
    origin: str
    number: int

    @property
    def position(self) -> str:
        return f"{self.origin}, line {self.number}"


class PushLogs:
    """Collects the pushes of the `wanted` snapshots of `repo`; the newest file has precedence."""

    def __init__(self, repo: RepoName, wanted: Iterable[SnapshotName]) -> None:
        self._repo = repo
        self._wanted = frozenset(wanted)
        self._records: dict[SnapshotName, _Record] = {}
        self._contents: deque[bytes] = deque(maxlen=_CONTENTS_KEPT)
        self._digests: set[bytes] = set()
        self._unread: dict[SnapshotName | None, str] = {}
        self.warnings: list[str] = []

    def pushes(self) -> dict[SnapshotName, Push]:
        """Return the known pushes by snapshot; a snapshot without a line is missing."""
        return {name: record.push for name, record in self._records.items()}

    def unread(self) -> dict[SnapshotName, str]:
        """Return the snapshots without a push for which something could not be read, and what."""
        missing = self._wanted - self._records.keys()
        anything = self._unread.get(None)
        found = {name: self._unread.get(name, anything) for name in sorted(missing)}
        return {name: what for name, what in found.items() if what is not None}

    def take(self, file: LogFile) -> None:
        """Read one more file, which must be older than those before."""
        file = replace(file, content=_as_utf_8(file.content))
        if file.problem is not None:
            problem = f"{file.origin} cannot be read: {file.problem}"
            self.warnings.append(problem)
            self._unread.setdefault(None, problem)
            return
        if any(content.startswith(file.content) for content in self._contents):
            return
        self._contents.append(file.content)
        warnings: list[str] = []
        for name, record in self._read(file, warnings).items():
            newer = self._records.setdefault(name, record)
            if newer.push != record.push:
                warnings.append(_contradiction(name, newer, record))
        if len(warnings) > _WARNINGS_SHOWN:
            more = f"{file.origin}: {len(warnings) - _WARNINGS_SHOWN} more such lines"
            warnings[_WARNINGS_SHOWN:] = [more]
        self.warnings += warnings

    def _read(self, file: LogFile, warnings: list[str]) -> dict[SnapshotName, _Record]:
        """Return the content of lines that no newer file has; if several match, of the last."""
        found: dict[SnapshotName, _Record] = {}
        digests: set[bytes] = set()
        for number, line in enumerate(io.BytesIO(file.content), start=1):
            digest = xxhash.xxh3_128_digest(line.rstrip(b"\n"))
            if digest in self._digests or not line.strip():
                continue
            if len(self._digests) + len(digests) < _DIGESTS_KEPT:
                digests.add(digest)
            text = line.decode("utf-8", "backslashreplace")
            try:
                name, push = parse_line(text, self._repo)
            except ValueError as error:
                problem = f"{file.origin}, line {number}: {error}"
                warnings.append(problem)
                concerned = named_snapshot(text)
                if concerned is None or concerned in self._wanted:
                    self._unread.setdefault(concerned, problem)
                continue
            if name not in self._wanted:
                continue
            record = _Record(push, file.origin, number)
            if not _is_text(line):
                warnings.append(
                    f"{record.position}: not UTF-8; the invalid bytes are written as \\xNN"
                )
            before = found.get(name)
            if before is not None and before.push != push:
                warnings.append(_contradiction(name, record, before))
            found[name] = record
        self._digests |= digests
        return found


def _as_utf_8(content: bytes) -> bytes:
    """Return the content of a log without a byte order mark, and with line feeds."""
    if content.startswith(_UTF_16):
        content = content.decode("utf-16", "backslashreplace").encode("utf-8", "backslashreplace")
    content = content.removeprefix(codecs.BOM_UTF8)
    return content if b"\n" in content else content.replace(b"\r", b"\n")


def _is_text(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _contradiction(name: SnapshotName, taken: _Record, other: _Record) -> str:
    return f"{name}: {taken.position} and {other.position} differ; the first is used"
