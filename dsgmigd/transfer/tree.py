"""Change a directory tree below one descriptor, one operation at a time.

No path is looked up twice and no symbolic link is ever followed. Contents are those of regular
files: no device and no FIFO is ever opened. A file that is made or written to stays open until
something is done to another one; what is done to it meanwhile is done by its descriptor. A new file
is made when its next name is known: a stream makes each under a name that lasts for one command. It
is made with the mode that the one before got at last, since setting a mode takes ZFS as long as
making the file. What is made has no ACL, whatever the directory passes on.

Leaving errors: OSError, as the kernel gave it; ValueError and OverflowError for what is not handed
to the kernel at all.
"""

import errno
import os
import stat
from dataclasses import dataclass

from dsgmigd.descriptors import Directories
from dsgmigd.syscalls import current_umask, punch_hole

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_ZEROS_BYTES = 1024 * 1024
# A write to ZFS that stays in one record is done or refused. One that a full pool takes in part
# ends zfs-fuse by an assertion.
_RECORD_BYTES = 128 * 1024
_NEW_FILE_MODE = 0o600
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
_PLAIN_BITS = 0o777
_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
_NO_ACL = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass
class _OpenFile:
    """A regular file that stays open.

    `mode` are the permission bits that it is to have, `held_mode` those that it has. `owner` is
    user and group, None while they are not known.
    """

    path: bytes
    descriptor: int
    mode: int
    held_mode: int
    owner: tuple[int, int] | None = None

    def set_mode(self) -> None:
        """Let the file have the mode that it is to have."""
        os.fchmod(self.descriptor, self.mode)
        self.held_mode = self.mode


@dataclass(frozen=True)
class _Heritage:
    """What a directory gives to that which is made in it."""

    owner: tuple[int, int]
    has_acl: bool


class Tree:
    """The tree below the directory `root`; paths are bytes, relative to it."""

    def __init__(self, root: str) -> None:
        self._directories = Directories(root)
        self._written: _OpenFile | None = None
        self._unmade: bytes | None = None
        self._heritage: tuple[bytes, _Heritage] | None = None
        self._umask = current_umask()
        self._likely_mode = _NEW_FILE_MODE
        self.bytes_written = 0

    def close(self) -> None:
        """Close every descriptor; a file that is not finished stays as the last write left it."""
        written, self._written = self._written, None
        try:
            if written:
                os.close(written.descriptor)
        finally:
            self._directories.close()

    def _parent_of(self, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the directory that holds `path`, and the name in it."""
        self._make_unmade()
        return self._directories.parent_of(path)

    # Names.

    def make_file(self, path: bytes) -> None:
        """Make an empty file that only its owner may touch."""
        self.finish_writing()
        self._unmade = path

    def _make_unmade(self) -> None:
        path, self._unmade = self._unmade, None
        if path is not None:
            self._create(path)

    def _create(self, path: bytes) -> None:
        parent, name = self._directories.parent_of(path)
        heritage = self._heritage_in(path, parent)
        held = self._likely_mode & ~self._umask
        descriptor = os.open(name, _CREATE, held, dir_fd=parent)
        self._written = _OpenFile(path, descriptor, _NEW_FILE_MODE, held, heritage.owner)
        if heritage.has_acl:
            _remove_acl(descriptor, _ACL)
            self._written.set_mode()

    def _heritage_in(self, path: bytes, parent: int) -> _Heritage:
        """Return what the open directory `parent`, which holds `path`, passes on."""
        directory = path.rpartition(b"/")[0]
        if self._heritage is None or self._heritage[0] != directory:
            status = os.fstat(parent)
            gid = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
            self._heritage = directory, _Heritage((os.geteuid(), gid), _has_default_acl(parent))
        return self._heritage[1]

    def make_directory(self, path: bytes) -> None:
        """Make an empty directory that only its owner may enter."""
        parent, name = self._parent_of(path)
        os.mkdir(name, 0o700, dir_fd=parent)
        self._disinherit(path, parent, name, _ACL, _DEFAULT_ACL)

    def make_special(self, path: bytes, mode: int, device: int = 0) -> None:
        """Make a device node, FIFO or socket."""
        parent, name = self._parent_of(path)
        os.mknod(name, mode, device, dir_fd=parent)
        self._disinherit(path, parent, name, _ACL)

    def _disinherit(self, path: bytes, parent: int, name: bytes, *acls: str) -> None:
        if self._heritage_in(path, parent).has_acl:
            for acl in acls:
                _remove_acl(_through(parent, name), acl)

    def make_symlink(self, path: bytes, reference: bytes) -> None:
        """Make a symbolic link to `reference`."""
        parent, name = self._parent_of(path)
        os.symlink(reference, name, dir_fd=parent)

    def link(self, existing: bytes, path: bytes) -> None:
        """Give what is at `existing` another name."""
        old_parent, old_name = self._parent_of(existing)
        parent, name = self._directories.parent_of(path)
        os.link(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)

    def rename(self, old: bytes, new: bytes) -> None:
        """Move what is at `old`, over what is at `new`."""
        if self._unmade == old and self._create_as(new):
            return
        written = self._written_at(old)
        if not written:
            self.finish_writing()
            self._heritage = None
        old_parent, old_name = self._directories.parent_of(old)
        new_parent, new_name = self._directories.parent_of(new)
        os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
        if written:
            written.path = new
        else:
            self._directories.forget(old)

    def _create_as(self, path: bytes) -> bool:
        """Make the file that is to be made at `path` at once, unless something is there."""
        try:
            self._create(path)
        except FileExistsError:
            return False
        self._unmade = None
        return True

    def unlink(self, path: bytes) -> None:
        """Remove what is no directory."""
        self.finish_writing()
        parent, name = self._directories.parent_of(path)
        os.unlink(name, dir_fd=parent)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        self._directories.forget(path)
        self._heritage = None
        parent, name = self._parent_of(path)
        os.rmdir(name, dir_fd=parent)

    def remove_whatever(self, path: bytes) -> bool:
        """Remove `path` with all below it; say whether there was anything."""
        self.finish_writing()
        self._directories.forget(path)
        self._heritage = None
        parent, name = self._parent_of(path)
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode):
            self._remove_tree(path)
        else:
            os.unlink(name, dir_fd=parent)
        return True

    def _remove_tree(self, top: bytes) -> None:
        """Remove the directory `top`; shutil.rmtree() fails in one that is a thousand deep."""
        pending = [top]
        while pending:
            path = pending[-1]
            below = []
            with self._directories.readable(path) as directory, os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below.append(path + b"/" + os.fsencode(entry.name))
                    else:
                        os.unlink(entry.name, dir_fd=directory)
            if below:
                pending += below
            else:
                self.remove_directory(pending.pop())

    # Contents.

    def open_for_reading(self, path: bytes) -> int:
        """Return a descriptor of the file `path`; the caller closes it."""
        return self._open_file(path, _READ)[0]

    def write_at(self, path: bytes, offset: int, data: memoryview) -> None:
        """Write `data` into the file `path`."""
        descriptor = self._open_for_writing(path)
        while data:
            fitting = data[: _RECORD_BYTES - offset % _RECORD_BYTES]
            count = os.pwrite(descriptor, fitting, offset)
            self.bytes_written += count
            offset += count
            data = data[count:]

    def truncate(self, path: bytes, size: int) -> None:
        """Let the file `path` have `size` bytes."""
        os.ftruncate(self._open_for_writing(path), size)

    def grow(self, path: bytes, size: int) -> None:
        """Let the file `path` have at least `size` bytes."""
        descriptor = self._open_for_writing(path)
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)

    def punch_hole(self, path: bytes, offset: int, length: int) -> None:
        """Let a range of the file `path` read as zeros; its size stays as it is."""
        descriptor = self._open_for_writing(path)
        try:
            punch_hole(descriptor, offset, length)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
            end = min(offset + length, os.fstat(descriptor).st_size)
            for start in range(offset, end, _ZEROS_BYTES):
                self.write_at(path, start, memoryview(bytes(min(_ZEROS_BYTES, end - start))))

    def _open_for_writing(self, path: bytes) -> int:
        if written := self._written_at(path):
            return written.descriptor
        self.finish_writing()
        descriptor, mode = self._open_file(path, _WRITE)
        self._written = _OpenFile(path, descriptor, mode, mode)
        return descriptor

    def _written_at(self, path: bytes) -> _OpenFile | None:
        self._make_unmade()
        return self._written if self._written and self._written.path == path else None

    def _open_file(self, path: bytes, flags: int) -> tuple[int, int]:
        """Return a descriptor of the regular file `path`, and its permission bits."""
        parent, name = self._parent_of(path)
        mode = os.lstat(name, dir_fd=parent).st_mode
        # Asked before: opening a device may do something already.
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path!r} is no regular file")
        return os.open(name, flags, dir_fd=parent), stat.S_IMODE(mode)

    def finish_writing(self) -> None:
        """Close the file that is made or written to, if there is one."""
        self._make_unmade()
        if self._written:
            written, self._written = self._written, None
            try:
                # Some file systems drop these bits with every write, even of root.
                if written.mode != written.held_mode or written.mode & _SET_ID_BITS:
                    written.set_mode()
            finally:
                os.close(written.descriptor)

    # Attributes.

    def is_symlink(self, path: bytes) -> bool:
        """Say whether a symbolic link is at `path`."""
        if self._written_at(path):
            return False
        parent, name = self._parent_of(path)
        return stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)

    def link_group(self, path: bytes) -> int | None:
        """Return the inode of a file that has several names; None for anything else."""
        parent, name = self._parent_of(path)
        status = os.lstat(name, dir_fd=parent)
        return status.st_ino if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else None

    def change_mode(self, path: bytes, mode: int) -> None:
        """Set the permission bits of `path`, which must not be a symbolic link."""
        if written := self._written_at(path):
            written.mode = mode
            if mode != written.held_mode:
                written.set_mode()
                self._likely_mode = mode & _PLAIN_BITS
            return
        self.finish_writing()
        self._heritage = None
        parent, name = self._directories.parent_of(path)
        os.chmod(name, mode, dir_fd=parent)

    def change_owner(self, path: bytes, uid: int, gid: int) -> None:
        """Set the owner of `path` and leave its mode as it is."""
        # chown drops some bits of the mode, and a stream repeats them only if the mode changed too.
        if written := self._written_at(path):
            if written.owner != (uid, gid):
                os.fchown(written.descriptor, uid, gid)
                written.owner = uid, gid
                if written.mode & _SET_ID_BITS:
                    written.set_mode()
            return
        self.finish_writing()
        self._heritage = None
        parent, name = self._directories.parent_of(path)
        mode = os.lstat(name, dir_fd=parent).st_mode
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(mode) and mode & _SET_ID_BITS:
            os.chmod(name, stat.S_IMODE(mode), dir_fd=parent)

    def set_times(self, path: bytes, access_ns: int, modification_ns: int) -> None:
        """Set the times of `path`, in nanoseconds since the epoch."""
        times = (access_ns, modification_ns)
        if written := self._written_at(path):
            os.utime(written.descriptor, ns=times)
            return
        parent, name = self._directories.parent_of(path)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def set_xattr(self, path: bytes, name: bytes, value: bytes) -> None:
        """Set an extended attribute of `path`, of a symbolic link itself."""
        os.setxattr(self._through_descriptor(path), name, value, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute of `path`, of a symbolic link itself."""
        os.removexattr(self._through_descriptor(path), name, follow_symlinks=False)

    def _through_descriptor(self, path: bytes) -> bytes:
        # An ACL changes the mode that an open file would get back at its end.
        self.finish_writing()
        self._heritage = None
        return _through(*self._directories.parent_of(path))


def _through(parent: int, name: bytes) -> bytes:
    # There is no setxattrat() in Python; the name after the descriptor is a single one.
    return b"/proc/self/fd/%d/%s" % (parent, name)


def _has_default_acl(directory: int) -> bool:
    try:
        return bool(os.getxattr(_through(directory, b"."), _DEFAULT_ACL))
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return False


def _remove_acl(what: int | bytes, acl: str) -> None:
    try:
        os.removexattr(what, acl)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
