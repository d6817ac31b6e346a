"""`.dsg/` of a dataset with several snapshots, made by the writer, without any files."""

from collections.abc import Iterable
from pathlib import Path

import orjson

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.entry import file_entry
from dsgmigd.dsg.lines import line_of
from dsgmigd.dsg.metadata import Metadata, Previous, make_metadata, render_manifest
from dsgmigd.dsg.push_line import Push
from dsgmigd.host.hashing import hash_bytes
from dsgmigd.names import SnapshotName

FIRST_PUSH = 1_399_483_646


def write_series(root: Path, *trees: dict[str, str]) -> list[Metadata]:
    """Write the documents of s1 … sN; `trees` are the contents of their files, by path."""
    directory = DsgDirectory(str(root))
    written: list[Metadata] = []
    for number, tree in enumerate(trees, start=1):
        write_next(directory, written, entries_of(tree))
        assert written[-1]["snapshot_id"] == f"s{number}"
    return written


def write_next(directory: DsgDirectory, written: list[Metadata], entries: list[bytes]) -> None:
    """Write the documents of one more snapshot, and add its metadata to `written`."""
    number = len(written) + 1
    before = written[-1] if written else None
    previous = Previous(SnapshotName(number - 1), before["snapshot_hash"]) if before else None
    push = Push(f"user{number}", FIRST_PUSH + number, f"message {number}")

    def describe(count: int, entries_hash: str) -> Metadata:
        written.append(make_metadata(SnapshotName(number), count, entries_hash, push, previous))
        return written[-1]

    pieces = render_manifest(map(line_of_entry, entries), describe)
    directory.write_manifest(pieces, previous=str(previous.snapshot) if previous else None)
    directory.write_messages(written)


def line_of_entry(entry: bytes) -> bytes:
    return line_of(orjson.loads(entry)["path"].encode(), entry)


def entries_of(tree: dict[str, str]) -> list[bytes]:
    return list(_entries(sorted(tree.items())))


def _entries(files: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    for path, content in files:
        digest = hash_bytes(content.encode())
        yield file_entry(
            path.encode(), user="ana", size=len(content), mtime=FIRST_PUSH, digest=digest
        )
