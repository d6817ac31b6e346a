"""The regular file that a replay is creating or changing; every call uses its descriptor.

Calls whose effect is there already are left out. The content of a new file that is written from its
beginning to its end is hashed on the way, so that nobody has to read it again for its hash.

Raises: OSError, as the kernel gave it; OverflowError for numbers that no system call accepts.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from dsgmigd.host.hashing import start_hash
from dsgmigd.host.syscalls import punch_hole

Checkpoint = Callable[[], None]

_ZEROS_BYTES = 1024 * 1024
# A write to ZFS that stays within one record either succeeds or fails as a whole. A larger write
# that a full pool accepts only in part makes zfs-fuse abort with a failed assertion.
_RECORD_BYTES = 128 * 1024
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass(slots=True)
class OpenFile:
    """An open regular file.

    `mode` are the permission bits that the file must have in the end, `held_mode` those that it
    has now. `owner` is user and group, `size` is in bytes; both are None while they are not known.

    `content` is the hash of all that the file has; None if not all of it was seen. `mtime_ns` is
    the time that was set after the last change of the content. `is_alone` says that the file
    certainly has no other name.
    """

    path: bytes
    descriptor: int
    mode: int
    held_mode: int
    owner: tuple[int, int] | None = None
    size: int | None = None
    content: xxhash.xxh3_64 | None = None
    mtime_ns: int | None = None
    is_alone: bool = False

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

    def write_streamed(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`; it is hashed if it follows what was hashed before."""
        content = self.content if offset == self.size else None
        self.write_at(offset, data)
        if content is not None:
            content.update(data)
            self.content = content

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`."""
        self._forget_content()
        while data:
            fitting = data[: _RECORD_BYTES - offset % _RECORD_BYTES]
            count = os.pwrite(self.descriptor, fitting, offset)
            offset += count
            data = data[count:]
            if self.size is not None and offset > self.size:
                self.size = offset

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""
        if size != self.size:
            self._forget_content()
            os.ftruncate(self.descriptor, size)
            if self.size is not None:
                self.size = size

    def grow(self, size: int) -> None:
        """Make the file at least `size` bytes long."""
        held = os.fstat(self.descriptor).st_size if self.size is None else self.size
        if held < size:
            self.truncate(size)

    def _forget_content(self) -> None:
        self.content = None
        self.mtime_ns = None

    def punch_hole(self, offset: int, length: int, checkpoint: Checkpoint) -> int:
        """Replace a range with zeros; the size of the file does not change.

        Where no hole can be punched, zeros are written, maybe terabytes: `checkpoint` is called for
        every piece. Returns how many were written.
        """
        self._forget_content()
        try:
            punch_hole(self.descriptor, offset, length)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
        else:
            return 0
        end = min(offset + length, os.fstat(self.descriptor).st_size)
        for start in range(offset, end, _ZEROS_BYTES):
            checkpoint()
            self.write_at(start, memoryview(bytes(min(_ZEROS_BYTES, end - start))))
        return max(0, end - offset)

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
        self.mtime_ns = modification_ns

    def linked(self) -> None:
        """Record that the file got another name, by which its content may change."""
        self.is_alone = False
        self.content = None


def new_file(
    path: bytes, descriptor: int, mode: int, held_mode: int, owner: tuple[int, int]
) -> OpenFile:
    """Return a file that was created just now, without content."""
    return OpenFile(
        path, descriptor, mode, held_mode, owner, size=0, content=start_hash(), is_alone=True
    )
