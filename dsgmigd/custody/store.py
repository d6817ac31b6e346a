"""The kept evidence of one repository: a directory with three files for each snapshot.

    STEM.entries.lz4    its entries: all of them, or what changed since the statement `base`
    STEM.json           the statement (see `statement`); it is written last
    STEM.json.sig       its signature, if there is a key

The first file is an LZ4 frame of lines. After a header, each edit (see `table`) begins with a line
`[LOW, HIGH, COUNT]`; COUNT times two lines follow, `[INODE, CTIME_NS, SIZE]` and an entry. The last
line is the SHA-256 of all others. Of every hundred snapshots one has all entries.

Whoever writes holds the lock of the repository. Everything is on disk on return.

Raises: OSError; EvidenceDamaged if a file is not what was written.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import lz4.frame

from dsgmigd.custody.entry import path_of
from dsgmigd.custody.statement import (
    ENTRIES_ENDING,
    SIGNATURE_ENDING,
    STATEMENT_ENDING,
    Statement,
    is_stem,
    parse_statement,
)
from dsgmigd.custody.table import Edit, Row, Table, whole
from dsgmigd.errors import EvidenceDamaged
from dsgmigd.host.durable import sync_directory, sync_file, write_durably
from dsgmigd.host.regular import open_regular, read_regular

_MODE = 0o600  # names of files may be worth hiding
_DIRECTORY_MODE = 0o700
_HEADER = {"format": 1}
_MOST_CHANGES = 100
_STATEMENT_LIMIT_BYTES = 64 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

Sign = Callable[[bytes], bytes]
"""Returns the signature of a content."""


class Store:
    """The evidence in `directory`, which need not exist yet."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def statements(self) -> list[Statement]:
        """Return all statements, by snapshot, of each the latest last."""
        found = map(self.read, self.stems())
        return sorted(found, key=lambda one: (one.name, one.verified_at))

    def stems(self) -> list[str]:
        """Return the stem of every statement, unread."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        stems = [name.removesuffix(STATEMENT_ENDING) for name in names]
        return [stem for stem in stems if stem + STATEMENT_ENDING in names and is_stem(stem)]

    def of_snapshot(self, snapshot_guid: str) -> Statement | None:
        """Return the latest statement about a snapshot, by its guid."""
        found = [one for one in self.statements() if one.snapshot_guid == snapshot_guid]
        return max(found, key=lambda one: one.verified_at, default=None)

    def load(self, statement: Statement, known: Mapping[str, Table] | None = None) -> Table:
        """Return the entries of a statement; they have its root hash.

        `known` has tables that were loaded before, by the stem of their statement.
        """
        edited = [statement]
        while (base := edited[-1].base) is not None and base not in (known or {}):
            if base in {one.stem for one in edited}:
                raise self._damaged(base + STATEMENT_ENDING, "it is built on itself")
            edited.append(self.read(base))
        table = Table() if base is None or known is None else known[base]
        for one in reversed(edited):
            table = table.changed(self._read_edits(one))
        if table.root() != statement.root:
            raise self._damaged(statement.stem + ENTRIES_ENDING, "it has another root hash")
        return table

    def write(
        self, statement: Statement, table: Table, edits: Iterable[Edit], sign: Sign | None = None
    ) -> Statement:
        """Keep a statement about `table`; return it, perhaps without its base.

        `edits` made the table of the one of its base; without a base they are not looked at.
        """
        os.makedirs(self.directory, _DIRECTORY_MODE, exist_ok=True)
        by_stem = {one.stem: one for one in self.statements()}
        if statement.base is not None and self._is_far(by_stem[statement.base], by_stem):
            statement = replace(statement, base=None)
        new = self._path(f".{statement.stem}.new")
        self._write_edits(new, edits if statement.base else whole(table.rows()))
        os.rename(new, self._path(statement.stem + ENTRIES_ENDING))
        content = statement.to_bytes()
        if sign is not None:
            write_durably(self._path(statement.stem + SIGNATURE_ENDING), sign(content), _MODE)
        write_durably(new, content, _MODE)
        os.rename(new, self._path(statement.stem + STATEMENT_ENDING))
        sync_directory(self.directory)
        return statement

    def signature(self, statement: Statement) -> bytes | None:
        """Return the signature of a statement, if it has one."""
        with contextlib.suppress(FileNotFoundError):
            path = self._path(statement.stem + SIGNATURE_ENDING)
            return read_regular(path, _STATEMENT_LIMIT_BYTES)
        return None

    def _bases(self, statement: Statement, by_stem: dict[str, Statement]) -> list[Statement]:
        """Return the statement and those that its entries are built on, down to the first."""
        chain = [statement]
        while (base := chain[-1].base) is not None:
            if base not in by_stem or by_stem[base] in chain:
                raise self._damaged(base + STATEMENT_ENDING, "it is missing")
            chain.append(by_stem[base])
        return chain

    def _is_far(self, base: Statement, by_stem: dict[str, Statement]) -> bool:
        return len(self._bases(base, by_stem)) >= _MOST_CHANGES

    def read(self, stem: str) -> Statement:
        """Return the statement with that stem."""
        name = stem + STATEMENT_ENDING
        try:
            statement = parse_statement(read_regular(self._path(name), _STATEMENT_LIMIT_BYTES))
        except FileNotFoundError:
            raise self._damaged(name, "it is missing") from None
        except ValueError as error:
            raise self._damaged(name, str(error)) from error
        if statement.stem != stem:
            raise self._damaged(name, f"it is the statement {statement.stem}")
        return statement

    def _write_edits(self, path: str, edits: Iterable[Edit]) -> None:
        digest = hashlib.sha256()
        with (
            open(os.open(path, _NEW, _MODE), "wb") as raw,
            lz4.frame.open(raw, "wb") as file,
        ):
            for line in _lines_of(edits):
                digest.update(line)
                file.write(line)
            file.write(digest.hexdigest().encode())
        sync_file(path)

    def _read_edits(self, statement: Statement) -> Iterator[Edit]:
        name = statement.stem + ENTRIES_ENDING
        try:
            with (
                open(open_regular(self._path(name)), "rb") as raw,
                lz4.frame.open(raw, "rb") as file,
            ):
                yield from _parse_edits(_checked(file))
        except FileNotFoundError:
            raise self._damaged(name, "it is missing") from None
        except (EOFError, RuntimeError, TypeError, ValueError) as error:
            raise self._damaged(name, str(error)) from error

    def _damaged(self, name: str, why: str) -> EvidenceDamaged:
        return EvidenceDamaged(
            f"{self._path(name)} is not what dsgmigd wrote: {why}",
            hint="restore it from a backup, or from an exported bag; the data is not affected",
        )

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def _lines_of(edits: Iterable[Edit]) -> Iterator[bytes]:
    yield _json_line(_HEADER)
    for edit in edits:
        high = None if edit.high is None else os.fsdecode(edit.high)
        yield _json_line([os.fsdecode(edit.low), high, len(edit.rows)])
        for row in edit.rows:
            yield _json_line([row.inode, row.ctime_ns, row.size]) + row.line + b"\n"


def _json_line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _checked(file: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines without newlines; ValueError at the end if they are not what was written."""
    digest = hashlib.sha256()
    for line in file:
        if not line.endswith(b"\n"):
            if line.decode() != digest.hexdigest():
                break
            return
        digest.update(line)
        yield line[:-1]
    raise ValueError("its lines have another hash")


def _parse_edits(lines: Iterator[bytes]) -> Iterator[Edit]:
    if json.loads(next(lines, b"null")) != _HEADER:
        raise ValueError("it has another format")
    for line in lines:
        low, high, count = json.loads(line)
        rows = tuple(_parse_row(next(lines), next(lines)) for _ in range(count))
        yield Edit(os.fsencode(low), None if high is None else os.fsencode(high), rows)


def _parse_row(facts: bytes, line: bytes) -> Row:
    inode, ctime_ns, size = json.loads(facts)
    return Row(path_of(line), line, inode, ctime_ns, size)
