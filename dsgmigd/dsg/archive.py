"""The directory `.dsg/` of a staging dataset.

Each archive file is written once and then left alone, so that ZFS shares its blocks over all later
snapshots. Nothing is written atomically: the ZFS snapshot that follows is the commit, and an
interrupted step is rolled back.

Leaving errors: TargetFull, TargetUnwritable, TargetChanged.
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
from dsgmigd.file_errors import status_of, target_errors

MANIFEST_NAME = "last-sync.json"
MESSAGES_NAME = "sync-messages.json"
TAGS_NAME = "tag-messages.json"
ARCHIVE_NAME = "archive"
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_PIECE_BYTES = 1024 * 1024


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
        """Return the metadata of the snapshots so far."""
        with self._reading(MESSAGES_NAME) as file:
            content = file.read()
        try:
            return split_messages(content)
        except (ValueError, KeyError, AttributeError) as error:
            raise self._touched(MESSAGES_NAME, error) from error

    def read_tags(self) -> list[Tag]:
        """Return the tags; none if there is no such document."""
        path = os.path.join(self._path, TAGS_NAME)
        with target_errors(f"looking for {path}"):
            if status_of(path) is None:
                return []
        with self._reading(TAGS_NAME) as file:
            content = file.read()
        try:
            return split_tags(content)
        except ValueError as error:
            raise self._touched(TAGS_NAME, error) from error

    def _touched(self, name: str, error: Exception) -> TargetChanged:
        return TargetChanged(
            f"{self._path}/{name} is not what dsgmigd wrote: {error}",
            hint="the staging dataset was touched; destroy it, the migration starts anew",
        )

    def write_manifest(self, pieces: Iterable[bytes], *, previous: str | None) -> None:
        """Write last-sync.json; the one that is there goes into the archive, as `previous`'s."""
        with target_errors(f"writing {self._path}"):
            if not self._is_there:
                self._make_directories()
            if previous is not None:
                self._write(archive_name(previous), self._compressed_manifest())
            self._write(MANIFEST_NAME, pieces)

    def write_messages(self, all_metadata: list[Metadata]) -> None:
        """Write sync-messages.json: the metadata of the snapshots so far."""
        with target_errors(f"writing {self._path}"):
            self._write(MESSAGES_NAME, [render_messages(all_metadata)])

    def write_tags(self, tags: list[Tag]) -> None:
        """Write tag-messages.json; without tags there is none."""
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
            os.chmod(directory, _DIRECTORY_MODE)  # whatever the umask is
        self._is_there = True

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        path = os.path.join(self._path, name)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with target_errors(f"reading {path}"), open(os.open(path, flags), "rb") as file:
            yield file

    def _write(self, name: str, pieces: Iterable[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(os.path.join(self._path, name), flags, _FILE_MODE)
        with open(descriptor, "wb", buffering=_PIECE_BYTES) as file:
            os.fchmod(descriptor, _FILE_MODE)
            file.writelines(pieces)
