"""Read and write the directory `.dsg/` of a staging dataset.

Each archive file is written once and never changed, so that all later ZFS snapshots share its
blocks. No file is written atomically: the ZFS snapshot that follows is the commit, and an
interrupted step is rolled back.

Raises: TargetFull, TargetUnwritable, TargetChanged.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import lz4.frame

from dsgmigd.dsg.metadata import Metadata, render_messages, split_messages
from dsgmigd.dsg.tags import Tag, render_tags, split_tags
from dsgmigd.errors import TargetChanged
from dsgmigd.exclusion import DSG_DIRECTORY
from dsgmigd.host.file_errors import status_of, target_errors
from dsgmigd.host.regular import DOCUMENT_LIMIT_BYTES, Unfit, open_regular, read_regular

MANIFEST_NAME = "last-sync.json"
MESSAGES_NAME = "sync-messages.json"
TAGS_NAME = "tag-messages.json"
ARCHIVE_NAME = "archive"
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_PIECE_BYTES = 1024 * 1024
# O_NONBLOCK: a FIFO in place of a document is an error, and no wait for a reader.
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def archive_name(snapshot: str) -> str:
    """Return the name, below `.dsg/`, of the archived manifest of `snapshot`."""
    return f"{ARCHIVE_NAME}/{snapshot}-sync.json.lz4"


class DsgDirectory:
    """Reads and writes `.dsg/` below the dataset mounted at `root`."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, os.fsdecode(DSG_DIRECTORY))
        self._is_there = False

    def read_manifest(self) -> Iterator[bytes]:
        """Yield the lines of last-sync.json."""
        with self._reading(MANIFEST_NAME) as file:
            yield from file

    def read_messages(self) -> list[Metadata]:
        """Return the metadata of all snapshots up to the last one."""
        content = self._read_whole(MESSAGES_NAME)
        try:
            return split_messages(content)
        except (ValueError, KeyError, AttributeError) as error:
            raise self._changed(MESSAGES_NAME, error) from error

    def read_tags(self) -> list[Tag]:
        """Return the tags; an empty list if the document does not exist."""
        path = os.path.join(self._path, TAGS_NAME)
        with target_errors(f"looking for {path}"):
            if status_of(path) is None:
                return []
        content = self._read_whole(TAGS_NAME)
        try:
            return split_tags(content)
        except ValueError as error:
            raise self._changed(TAGS_NAME, error) from error

    def _changed(self, name: str, error: object) -> TargetChanged:
        return TargetChanged(
            f"{self._path}/{name} is not the document that dsgmigd wrote: {error}",
            hint="the staging dataset was modified; destroy it and submit again to start over",
        )

    def write_manifest(self, pieces: Iterable[bytes], *, previous: str | None) -> None:
        """Write last-sync.json; archive the existing one as the manifest of `previous`."""
        with target_errors(f"writing {self._path}"):
            if not self._is_there:
                self._make_directories()
            if previous is not None:
                self._write(archive_name(previous), self._compressed_manifest())
            self._write(MANIFEST_NAME, pieces)

    def write_messages(self, all_metadata: list[Metadata]) -> None:
        """Write sync-messages.json: the metadata of all snapshots up to the last one."""
        with target_errors(f"writing {self._path}"):
            self._write(MESSAGES_NAME, [render_messages(all_metadata)])

    def write_tags(self, tags: list[Tag]) -> None:
        """Write tag-messages.json; remove it if there are no tags."""
        with target_errors(f"writing {self._path}"):
            if tags:
                self._write(TAGS_NAME, [render_tags(tags)])
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._path, TAGS_NAME))

    def _compressed_manifest(self) -> Iterator[bytes]:
        compressor = lz4.frame.LZ4FrameCompressor()
        with self._reading(MANIFEST_NAME) as file:
            yield compressor.begin(source_size=os.fstat(file.fileno()).st_size)
            while piece := file.read(_PIECE_BYTES):
                yield compressor.compress(piece)
            yield compressor.flush()

    def _make_directories(self) -> None:
        for directory in (self._path, os.path.join(self._path, ARCHIVE_NAME)):
            os.makedirs(directory, exist_ok=True)
            os.chmod(directory, _DIRECTORY_MODE)  # regardless of the umask
        self._is_there = True

    def _read_whole(self, name: str) -> bytes:
        with self._errors(name) as path:
            return read_regular(path, DOCUMENT_LIMIT_BYTES)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        with self._errors(name) as path, open(open_regular(path), "rb") as file:
            yield file

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[str]:
        path = os.path.join(self._path, name)
        with target_errors(f"reading {path}"):
            try:
                yield path
            except Unfit as error:
                raise self._changed(name, str(error.strerror)) from error

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        descriptor = os.open(os.path.join(self._path, name), _WRITE, _FILE_MODE)
        with open(descriptor, "wb", buffering=_PIECE_BYTES) as file:
            os.fchmod(descriptor, _FILE_MODE)
            file.writelines(pieces)
