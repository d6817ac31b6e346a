"""The commands of a send stream that change the content of files.

Data of a plain write passes by whole and is hashed on its way, see `open_file`. What a clone reads,
what was compressed and what is a hole is not.

Raises: UnexpectedCommand, KeyError, ValueError; SourceUnreadable; OSError of the target, as the
kernel gave it.
"""

import os
from collections.abc import Callable

from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error, source_errors
from dsgmigd.source.compression import decode_extent
from dsgmigd.source.send_stream import Attributes, Field
from dsgmigd.transfer.fields import (
    SnapshotId,
    UnexpectedCommand,
    nanoseconds_in,
    number_in,
    optional_number_in,
    path_in,
    snapshot_in,
)
from dsgmigd.transfer.open_file import OpenFile
from dsgmigd.transfer.reports import ReportingTree
from dsgmigd.transfer.tree import Tree

_CLONE_CHUNK_BYTES = 1024 * 1024
_SMALLEST_SECTOR_BYTES = 4096
# linux/falloc.h
_KEEP_SIZE = 1
_PUNCH_HOLE = 2


class Writes:
    """Writes into the files of `tree`.

    `parent` is the parent snapshot in the source: clone commands read from it. `source` is the sent
    snapshot itself: some sizes are read from it. `checkpoint` is called within a command that may
    take long, and may raise to stop. `bytes_written` counts.
    """

    def __init__(
        self, tree: ReportingTree, parent: Tree | None, source: Directories | None = None
    ) -> None:
        self._tree = tree
        self._parent = parent
        self._source = source
        # The path of the file whose last command wrote an inline extent, and where that ended.
        self._inline: tuple[bytes, int] | None = None
        self.own_id: SnapshotId | None = None
        self.parent_id: SnapshotId | None = None
        self.checkpoint: Callable[[], None] = lambda: None
        self.bytes_written = 0

    def write(self, path: bytes, attributes: Attributes) -> None:
        """Write data."""
        data = memoryview(attributes[Field.DATA])
        offset = number_in(attributes, Field.FILE_OFFSET)
        self._inline = None
        self._tree.file_for_writing(path).write_streamed(offset, data)
        self.bytes_written += len(data)
        self._tree.report_content(path)

    def write_encoded(self, path: bytes, attributes: Attributes) -> None:
        """Write a part of an extent that btrfs compressed."""
        if optional_number_in(attributes, Field.ENCRYPTION):
            raise UnexpectedCommand(f"has encrypted data for {path!r}")
        length = number_in(attributes, Field.UNENCODED_LEN)
        start = number_in(attributes, Field.UNENCODED_OFFSET)
        end = start + number_in(attributes, Field.UNENCODED_FILE_LEN)
        if end > length:
            raise UnexpectedCommand(f"of {path!r} writes beyond the end of its extent")
        compression = optional_number_in(attributes, Field.COMPRESSION)
        extent = decode_extent(compression, memoryview(attributes[Field.DATA]), length)
        offset = number_in(attributes, Field.FILE_OFFSET)
        file = self._tree.file_for_writing(path)
        file.write_at(offset, memoryview(extent)[start:end])
        self.bytes_written += end - start
        written_end = offset + end - start
        rest_of_sector = -written_end % _SMALLEST_SECTOR_BYTES
        self._inline = None
        if length % _SMALLEST_SECTOR_BYTES and rest_of_sector:
            # The extent lies inline and stands for a whole sector; the kernel does not send the
            # zeros at its end, even if there is more of the file after it.
            self._punch_hole(file, written_end, rest_of_sector)
            self._inline = path, written_end
        self._tree.report_content(path)

    def settle_size(self, path: bytes, attributes: Attributes) -> bool:
        """Grow a file that ends with an inline extent to its size; False if that is not known.

        If a file ends where the sector of that extent ends, the kernel sends no size, and the
        source must be asked. The command has the times of the file: they tell whether the source
        has it at `path` already, or whether a rename of its directory is still to come.
        """
        inline, self._inline = self._inline, None
        if inline is None or inline[0] != path or self._source is None:
            return True
        with source_errors(f"reading {os.fsdecode(path)!r}"):
            try:
                status = self._source.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        if status.st_ctime_ns != nanoseconds_in(attributes, Field.CTIME):
            return False
        if status.st_size > inline[1]:
            self._tree.file_for_writing(path).truncate(status.st_size)
            self._tree.report_content(path)
        return True

    def _punch_hole(self, file: OpenFile, offset: int, length: int) -> None:
        self.bytes_written += file.punch_hole(offset, length, self.checkpoint)

    def truncate(self, path: bytes, attributes: Attributes) -> None:
        """Set the size."""
        size = number_in(attributes, Field.SIZE)
        self._inline = None
        self._tree.file_for_writing(path).truncate(size)
        self._tree.report_content(path)

    def allocate(self, path: bytes, attributes: Attributes) -> None:
        """Punch a hole, or grow the file; space is not reserved, since ZFS could not use it."""
        mode = number_in(attributes, Field.FALLOCATE_MODE)
        offset, length = number_in(attributes, Field.FILE_OFFSET), number_in(attributes, Field.SIZE)
        if mode & _PUNCH_HOLE:
            self._punch_hole(self._tree.file_for_writing(path), offset, length)
        elif mode & ~_KEEP_SIZE:
            raise UnexpectedCommand(f"has the unknown mode {mode} for {path!r}")
        elif not mode:
            self._tree.file_for_writing(path).grow(offset + length)
        self._inline = None
        self._tree.report_content(path)

    def is_own_clone(self, attributes: Attributes) -> bool:
        """Say whether a clone reads from the sent snapshot itself.

        Snapshots of a received subvolume have one UUID in a stream. If even their transactions are
        the same, nothing differs between them.
        """
        origin = snapshot_in(attributes, Field.CLONE_UUID, Field.CLONE_CTRANSID)
        return origin == self.own_id

    def clone(self, path: bytes, attributes: Attributes) -> None:
        """Copy a range from a file of the sent snapshot or of its parent."""
        self._inline = None
        source = self._open_origin(attributes)
        try:
            self._copy_range(source, path, attributes)
        finally:
            os.close(source)
        self._tree.report_content(path)

    def _open_origin(self, attributes: Attributes) -> int:
        """Return a descriptor of the file from which a clone takes its bytes."""
        path = path_in(attributes, Field.CLONE_PATH)
        origin = snapshot_in(attributes, Field.CLONE_UUID, Field.CLONE_CTRANSID)
        if origin == self.own_id:
            return self._tree.open_for_reading(path)
        if self._parent is None or origin != self.parent_id:
            raise UnexpectedCommand("reads from a snapshot that is not the parent")
        with source_errors(f"opening {os.fsdecode(path)!r} in the parent snapshot"):
            return self._parent.open_for_reading(path)

    def _copy_range(self, source: int, path: bytes, attributes: Attributes) -> None:
        source_offset = number_in(attributes, Field.CLONE_OFFSET)
        offset = number_in(attributes, Field.FILE_OFFSET)
        end = offset + number_in(attributes, Field.CLONE_LEN)
        while offset < end:
            self.checkpoint()
            try:
                data = os.pread(source, min(_CLONE_CHUNK_BYTES, end - offset), source_offset)
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            if not data:
                raise UnexpectedCommand(f"of {path!r} reads beyond the end of its source file")
            self._tree.file_for_writing(path).write_at(offset, memoryview(data))
            self.bytes_written += len(data)
            offset += len(data)
            source_offset += len(data)
