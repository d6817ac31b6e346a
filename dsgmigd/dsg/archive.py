"""The directory `.dsg/` of a staging dataset.

Each archive file is written once and then left alone, so that ZFS shares its blocks over all later
snapshots. Nothing is written atomically: the ZFS snapshot that follows is the commit, and an
interrupted step is rolled back.

Leaving errors: TargetFull, TargetUnwritable, TargetChanged.
"""

import contextlib
import os
from collections.abc import Iterator

import lz4.frame

from dsgmigd.dsg.metadata import Metadata, render_messages, split_messages
from dsgmigd.errors import TargetChanged
from dsgmigd.exclusion import DSG_DIRECTORY
from dsgmigd.file_errors import target_error

MANIFEST_NAME = "last-sync.json"
MESSAGES_NAME = "sync-messages.json"
ARCHIVE_NAME = "archive"
_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644


def archive_name(snapshot: str) -> str:
    """Return the name, below `.dsg/`, of the archived manifest of `snapshot`."""
    return f"{ARCHIVE_NAME}/{snapshot}-sync.json.lz4"


class DsgDirectory:
    """Reads and writes `.dsg/` below the dataset mounted at `root`."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, os.fsdecode(DSG_DIRECTORY))
        self._is_there = False

    def read_manifest(self) -> bytes:
        """Return last-sync.json."""
        return self._read(MANIFEST_NAME)

    def read_messages(self) -> list[Metadata]:
        """Return the metadata of the snapshots so far."""
        content = self._read(MESSAGES_NAME)
        try:
            return split_messages(content)
        except (ValueError, KeyError, AttributeError) as error:
            raise TargetChanged(
                f"{self._path}/{MESSAGES_NAME} is not what dsgmigd wrote: {error}",
                hint="the staging dataset was touched; destroy it, the migration starts anew",
            ) from error

    def write_snapshot(
        self, manifest: bytes, all_metadata: list[Metadata], previous_manifest: bytes | None
    ) -> None:
        """Write the documents of one snapshot, and the manifest before into the archive."""
        with _target_errors(f"writing {self._path}"):
            if not self._is_there:
                self._make_directories()
            if previous_manifest is not None:
                previous = all_metadata[-2]["snapshot_id"]
                self._write(archive_name(previous), lz4.frame.compress(previous_manifest))
            self._write(MANIFEST_NAME, manifest)
            self._write(MESSAGES_NAME, render_messages(all_metadata))

    def _make_directories(self) -> None:
        for directory in (self._path, os.path.join(self._path, ARCHIVE_NAME)):
            os.makedirs(directory, exist_ok=True)
            os.chmod(directory, _DIRECTORY_MODE)  # whatever the umask is
        self._is_there = True

    def _read(self, name: str) -> bytes:
        path = os.path.join(self._path, name)
        with _target_errors(f"reading {path}"), open(path, "rb") as file:
            return file.read()

    def _write(self, name: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(os.path.join(self._path, name), flags, _FILE_MODE)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, _FILE_MODE)
            file.write(content)


@contextlib.contextmanager
def _target_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise target_error(error, action) from error
