"""Changes a directory tree below one descriptor, one operation at a time.

Guarantees: no path is looked up twice and no symbolic link is followed; only regular files are
opened, never a device or a FIFO; nothing that is created inherits an ACL from its directory.

Two delays save system calls. A file that was created or written to stays open until another file
is used, and is changed through its descriptor until then. A new file is created only when its next
name is known, because a send stream creates each file under a name that lasts for one command; it
gets the mode that the file before it ended with, because on ZFS setting a mode takes as long as
creating the file.

Raises: OSError, as the kernel gave it; ValueError and OverflowError for arguments that no system
call accepts.
"""

import os
import stat

from dsgmigd.host.directories import Directories
from dsgmigd.host.syscalls import current_umask
from dsgmigd.transfer.inheritance import (
    Inheritance,
    path_through,
    read_inheritance,
    remove_acls,
    remove_file_acl,
)
from dsgmigd.transfer.open_file import OpenFile, new_file

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW_FILE_MODE = 0o600
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
_PLAIN_BITS = 0o777
_ACL_PREFIX = b"system."


class Tree:
    """The tree below an open directory, which the caller closes; paths are bytes, relative."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._file: OpenFile | None = None
        self._pending: bytes | None = None
        self._inheritance: tuple[bytes, Inheritance] | None = None
        self._umask = current_umask()
        self._likely_mode = _NEW_FILE_MODE

    def close(self) -> None:
        """Close the open file, if there is one, as the last operation left it."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _parent_of(self, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the directory that holds `path`, and the name in it."""
        if self._pending is not None:
            self._create_pending()
        return self._directories.parent_of(path)

    # Names.

    def make_file(self, path: bytes) -> None:
        """Create an empty file that only its owner may access."""
        self.finish_writing()
        self._pending = path

    def _create_pending(self) -> None:
        path, self._pending = self._pending, None
        if path is not None:
            self._create(path)

    def _create(self, path: bytes) -> None:
        parent, name = self._directories.parent_of(path)
        inheritance = self._inheritance_in(path, parent)
        held = self._likely_mode & ~self._umask
        descriptor = os.open(name, _CREATE, held, dir_fd=parent)
        self._file = file = new_file(path, descriptor, _NEW_FILE_MODE, held, inheritance.owner)
        if inheritance.has_acl:
            remove_file_acl(descriptor)
            file.set_mode()
        self.file_created(path)

    def file_created(self, path: bytes) -> None:
        """Act on a new, empty file at `path`."""

    def file_finished(self, file: OpenFile) -> None:
        """Act on a file that is closed after its last change."""

    def _inheritance_in(self, path: bytes, parent: int) -> Inheritance:
        """Return what the open directory `parent`, which holds `path`, passes on."""
        directory = path.rpartition(b"/")[0]
        if self._inheritance is None or self._inheritance[0] != directory:
            self._inheritance = directory, read_inheritance(parent)
        return self._inheritance[1]

    def make_directory(self, path: bytes) -> None:
        """Create an empty directory that only its owner may enter."""
        parent, name = self._parent_of(path)
        os.mkdir(name, 0o700, dir_fd=parent)
        if self._inheritance_in(path, parent).has_acl:
            remove_acls(parent, name, is_directory=True)

    def make_special(self, path: bytes, mode: int, device: int = 0) -> None:
        """Create a device node, FIFO or socket."""
        parent, name = self._parent_of(path)
        os.mknod(name, mode, device, dir_fd=parent)
        if self._inheritance_in(path, parent).has_acl:
            remove_acls(parent, name, is_directory=False)

    def make_symlink(self, path: bytes, reference: bytes) -> None:
        """Create a symbolic link to `reference`."""
        parent, name = self._parent_of(path)
        os.symlink(reference, name, dir_fd=parent)

    def link(self, existing: bytes, path: bytes) -> None:
        """Create `path` as a hard link to `existing`."""
        old_parent, old_name = self._parent_of(existing)
        parent, name = self._directories.parent_of(path)
        if self._file:
            self._file.linked()
        os.link(old_name, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)

    def rename(self, old: bytes, new: bytes) -> bool:
        """Rename `old` to `new`, which is replaced if it exists.

        Returns False if nothing was renamed, because the file was created as `new` only now.
        """
        if self._pending == old and self._create_as(new):
            return False
        file = self._file_at(old)
        if not file:
            self.finish_writing()
            self._inheritance = None
        old_parent, old_name = self._directories.parent_of(old)
        new_parent, new_name = self._directories.parent_of(new)
        os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
        if file:
            file.path = new
        else:
            self._directories.forget(old)
        return True

    def _create_as(self, path: bytes) -> bool:
        """Create the pending file as `path`; return False if that exists already."""
        try:
            self._create(path)
        except FileExistsError:
            return False
        self._pending = None
        return True

    def unlink(self, path: bytes) -> None:
        """Remove `path`, which must not be a directory."""
        self.finish_writing()
        parent, name = self._directories.parent_of(path)
        os.unlink(name, dir_fd=parent)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""
        self._directories.forget(path)
        self._inheritance = None
        parent, name = self._parent_of(path)
        os.rmdir(name, dir_fd=parent)

    def remove_all(self, path: bytes) -> bool:
        """Remove `path` and everything below it; return False if it did not exist."""
        self.finish_writing()
        self._directories.forget(path)
        self._inheritance = None
        try:
            status = self._directories.lstat(path)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode):
            self._remove_tree(path)
        else:
            self.unlink(path)
        return True

    def _remove_tree(self, top: bytes) -> None:
        """Remove the directory `top`; shutil.rmtree() fails in a tree a thousand levels deep."""
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

    def file_for_writing(self, path: bytes) -> OpenFile:
        """Return the open file `path`; this object closes it when another file is used."""
        if file := self._file_at(path):
            return file
        self.finish_writing()
        descriptor, mode = self._open_file(path, _WRITE)
        self._file = file = OpenFile(path, descriptor, mode, mode)
        return file

    def _file_at(self, path: bytes) -> OpenFile | None:
        if self._pending is not None:
            self._create_pending()
        file = self._file
        return file if file is not None and file.path == path else None

    def _open_file(self, path: bytes, flags: int) -> tuple[int, int]:
        """Return a descriptor of the regular file `path`, and its permission bits."""
        parent, name = self._parent_of(path)
        mode = os.lstat(name, dir_fd=parent).st_mode
        # Checked before the file is opened: opening a device may already have an effect.
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path!r} is not a regular file")
        return os.open(name, flags, dir_fd=parent), stat.S_IMODE(mode)

    def finish_writing(self) -> None:
        """Create the file that is pending, and close the file that is open."""
        if self._pending is not None:
            self._create_pending()
        file, self._file = self._file, None
        if file is not None:
            file.finish()
            self.file_finished(file)

    # Attributes.

    def link_group(self, path: bytes) -> int | None:
        """Return the inode number of a file that has several names; None for anything else."""
        if (file := self._file_at(path)) and file.is_alone:
            return None
        status = self._directories.lstat(path)
        return status.st_ino if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else None

    def change_mode(self, path: bytes, mode: int) -> bool:
        """Set the permission bits of `path`; return False if it is a symbolic link."""
        if file := self._file_at(path):
            if file.change_mode(mode):
                self._likely_mode = mode & _PLAIN_BITS
            return True
        self.finish_writing()
        self._inheritance = None
        parent, name = self._directories.parent_of(path)
        # chmod(2) follows symbolic links, and the kernel never sends the mode of one.
        if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
            return False
        os.chmod(name, mode, dir_fd=parent)
        return True

    def change_owner(self, path: bytes, uid: int, gid: int) -> None:
        """Set user and group of `path`; its mode does not change."""
        if file := self._file_at(path):
            file.change_owner(uid, gid)
            return
        self.finish_writing()
        self._inheritance = None
        parent, name = self._directories.parent_of(path)
        mode = os.lstat(name, dir_fd=parent).st_mode
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        # chown(2) clears them, on zfs-fuse even a directory's; a stream sets only changed modes.
        if not stat.S_ISLNK(mode) and mode & _SET_ID_BITS:
            os.chmod(name, stat.S_IMODE(mode), dir_fd=parent)

    def set_times(self, path: bytes, access_ns: int, modification_ns: int) -> None:
        """Set the times of `path`, in nanoseconds since the epoch."""
        if file := self._file_at(path):
            file.set_times(access_ns, modification_ns)
            return
        parent, name = self._directories.parent_of(path)
        os.utime(name, ns=(access_ns, modification_ns), dir_fd=parent, follow_symlinks=False)

    def set_xattr(self, path: bytes, name: bytes, value: bytes) -> None:
        """Set an extended attribute of `path`; of a symbolic link itself, not of its target."""
        file = self._file_at(path)
        # An ACL changes the mode, which an open file would set back when it is closed.
        if file and not name.startswith(_ACL_PREFIX):
            os.setxattr(file.descriptor, name, value)
        else:
            os.setxattr(self._path_for_xattr(path), name, value, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute of `path`; of a symbolic link itself, not of its target."""
        os.removexattr(self._path_for_xattr(path), name, follow_symlinks=False)

    def _path_for_xattr(self, path: bytes) -> bytes:
        self.finish_writing()
        self._inheritance = None
        return path_through(*self._directories.parent_of(path))
