"""The regular file that a replay is creating or changing; every call uses its descriptor.

Raises: OSError, as the kernel gave it; OverflowError for numbers that no system call accepts.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from dsgmigd.host.syscalls import punch_hole

Checkpoint = Callable[[], None]

_ZEROS_BYTES = 1024 * 1024
# A write to ZFS that stays within one record either succeeds or fails as a whole. A larger write
# that a full pool accepts only in part makes zfs-fuse abort with a failed assertion.
_RECORD_BYTES = 128 * 1024
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass
class OpenFile:
    """An open regular file.

    `mode` are the permission bits that the file must have in the end, `held_mode` those that it
    has now. `owner` is user and group; None while they are not known. `bytes_written` counts what
    was written since the file was opened.
    """

    path: bytes
    descriptor: int
    mode: int
    held_mode: int
    owner: tuple[int, int] | None = None
    bytes_written: int = 0

    def finish(self) -> None:
        """Set the final mode and close the file."""
        try:
            # Some file systems clear the set-ID bits on every write, even by root.
            if self.mode != self.held_mode or self.mode & _SET_ID_BITS:
                self.set_mode()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file as it is."""
        os.close(self.descriptor)

    # Contents.

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`."""
        while data:
            fitting = data[: _RECORD_BYTES - offset % _RECORD_BYTES]
            count = os.pwrite(self.descriptor, fitting, offset)
            self.bytes_written += count
            offset += count
            data = data[count:]

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""
        os.ftruncate(self.descriptor, size)

    def grow(self, size: int) -> None:
        """Make the file at least `size` bytes long."""
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)

    def punch_hole(self, offset: int, length: int, checkpoint: Checkpoint) -> None:
        """Replace a range with zeros; the size of the file does not change.

        Where no hole can be punched, zeros are written, maybe terabytes: `checkpoint` is called for
        every piece.
        """
        try:
            punch_hole(self.descriptor, offset, length)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
            end = min(offset + length, os.fstat(self.descriptor).st_size)
            for start in range(offset, end, _ZEROS_BYTES):
                checkpoint()
                self.write_at(start, memoryview(bytes(min(_ZEROS_BYTES, end - start))))

    # Attributes.

    def set_mode(self) -> None:
        """Set the permission bits to `mode`."""
        os.fchmod(self.descriptor, self.mode)
        self.held_mode = self.mode

    def change_mode(self, mode: int) -> bool:
        """Set the permission bits; return whether a system call was needed."""
        self.mode = mode
        if mode == self.held_mode:
            return False
        self.set_mode()
        return True

    def change_owner(self, uid: int, gid: int) -> None:
        """Set user and group; the mode does not change."""
        if self.owner != (uid, gid):
            os.fchown(self.descriptor, uid, gid)
            self.owner = uid, gid
            if self.mode & _SET_ID_BITS:  # chown(2) clears them
                self.set_mode()

    def set_times(self, access_ns: int, modification_ns: int) -> None:
        """Set the times, in nanoseconds since the epoch."""
        os.utime(self.descriptor, ns=(access_ns, modification_ns))
