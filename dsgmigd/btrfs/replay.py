"""Apply a btrfs send stream to a directory of any file system, in place.

The directory holds what the stream's parent held, less what the exclusion rule keeps out. After
the last command it holds what the sent snapshot holds, again less the excluded. What crosses the
border into the excluded part is removed; what comes out of it cannot be had from the stream, so its
path is *deferred*: commands on it are skipped, and at the end it is copied from the source.

Listeners hear of every change of a path that stays in the tree, in the order of the stream.

Leaving errors: StreamCorrupt, TargetFull, TargetRefused, TargetUnwritable, SourceUnreadable,
LossNotAllowed.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from dsgmigd.btrfs.border import Border
from dsgmigd.btrfs.stream import Attributes, Command, Field, Kind
from dsgmigd.descriptors import Directories
from dsgmigd.errors import LossNotAllowed, StreamCorrupt
from dsgmigd.file_errors import source_error, target_error

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NANOSECONDS = 1_000_000_000
_SET_ID_BITS = stat.S_ISUID | stat.S_ISGID
_CLONE_CHUNK_BYTES = 1024 * 1024


class ChangeListener(Protocol):
    """Hears what a replay does to the tree."""

    def created(self, path: bytes) -> None:
        """Hear that something that is not a directory is new at `path`."""

    def linked(self, existing: bytes, path: bytes) -> None:
        """Hear that `path` is a new hard link to what is at `existing`."""

    def created_directory(self, path: bytes) -> None:
        """Hear that an empty directory is new at `path`."""

    def renamed(self, old: bytes, new: bytes) -> None:
        """Hear that what was at `old`, with all below it, is now at `new`."""

    def removed(self, path: bytes) -> None:
        """Hear that what was at `path`, with all below it, is gone."""

    def content_changed(self, path: bytes) -> None:
        """Hear that the bytes of the file at `path` changed."""

    def times_changed(self, path: bytes) -> None:
        """Hear that the times of what is at `path` were set."""

    def appeared(self, path: bytes) -> None:
        """Hear that `path`, with all below it, came from outside the stream."""


@dataclass(frozen=True)
class _OpenFile:
    path: bytes
    descriptor: int
    mode: int


class Replay:
    """One replay onto the directory `root`.

    `parent_root` is the parent snapshot as it is in the source: clones read from it. Without
    `has_xattrs`, extended attributes are an error unless `may_lose_xattrs`.
    """

    def __init__(
        self,
        root: str,
        listener: ChangeListener,
        *,
        parent_root: str | None = None,
        has_xattrs: bool = True,
        may_lose_xattrs: bool = False,
    ) -> None:
        self._tree = Directories(root)
        self._parent = Directories(parent_root) if parent_root else None
        self._listener = listener
        self._has_xattrs = has_xattrs
        self._may_lose_xattrs = may_lose_xattrs
        self._uuid = b""
        self._written: _OpenFile | None = None
        self._border = Border()
        self.bytes_written = 0
        self.commands = 0
        self._handlers: dict[Kind, Callable[[Attributes], None]] = {
            Kind.SUBVOL: self._begin,
            Kind.SNAPSHOT: self._begin,
            Kind.MKFILE: self._make_file,
            Kind.MKDIR: self._make_directory,
            Kind.MKNOD: self._make_node,
            Kind.MKFIFO: self._make_fifo,
            Kind.MKSOCK: self._make_socket,
            Kind.SYMLINK: self._make_symlink,
            Kind.RENAME: self._rename,
            Kind.LINK: self._link,
            Kind.UNLINK: self._unlink,
            Kind.RMDIR: self._remove_directory,
            Kind.SET_XATTR: self._set_xattr,
            Kind.REMOVE_XATTR: self._remove_xattr,
            Kind.WRITE: self._write,
            Kind.CLONE: self._clone,
            Kind.TRUNCATE: self._truncate,
            Kind.CHMOD: self._change_mode,
            Kind.CHOWN: self._change_owner,
            Kind.UTIMES: self._set_times,
            Kind.FILEATTR: lambda _: None,  # chattr flags are not carried
        }

    def apply(self, commands: Iterable[Command], *, checkpoint: Callable[[], None]) -> None:
        """Apply all commands; `checkpoint` is called between them and may raise to stop."""
        try:
            for kind, attributes in commands:
                self.commands += 1
                checkpoint()
                self._apply_one(kind, attributes)
        finally:
            self._close()

    @property
    def deferred(self) -> frozenset[bytes]:
        """Paths that must be copied from the source, each with all below it."""
        return frozenset(self._border.deferred)

    def _apply_one(self, kind: Kind, attributes: Attributes) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise _corrupt(f"the command {kind.name} is not one that was asked for")
        try:
            handler(attributes)
        except KeyError as error:
            field = error.args[0]
            raise _corrupt(f"{kind.name} lacks its attribute {field!r}") from error
        except OSError as error:
            path = bytes(attributes.get(Field.PATH, b""))
            raise target_error(error, f"{kind.name.lower()} of {os.fsdecode(path)!r}") from error

    def _close(self) -> None:
        self._finish_writing()
        self._tree.close()
        if self._parent:
            self._parent.close()

    # The border to what is excluded.

    def _defer(self, path: bytes) -> None:
        self._remove_whatever(path)
        self._border.defer(path)

    def _remove_whatever(self, path: bytes) -> None:
        self._finish_writing()
        self._tree.forget(path)
        parent, name = self._tree.parent_of(path)
        try:
            status = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
        self._listener.removed(path)

    # Commands that make, move and remove names.

    def _begin(self, attributes: Attributes) -> None:
        self._uuid = bytes(attributes[Field.UUID])

    def _make_file(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            parent, name = self._tree.parent_of(path)
            os.close(os.open(name, _CREATE, 0o600, dir_fd=parent))
            self._listener.created(path)

    def _make_directory(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            parent, name = self._tree.parent_of(path)
            os.mkdir(name, 0o700, dir_fd=parent)
            self._listener.created_directory(path)

    def _make_node(self, attributes: Attributes) -> None:
        mode = _number(attributes, Field.MODE)
        self._make_special(attributes, mode, _number(attributes, Field.RDEV))

    def _make_fifo(self, attributes: Attributes) -> None:
        self._make_special(attributes, stat.S_IFIFO | 0o600, 0)

    def _make_socket(self, attributes: Attributes) -> None:
        self._make_special(attributes, stat.S_IFSOCK | 0o600, 0)

    def _make_special(self, attributes: Attributes, mode: int, device: int) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            parent, name = self._tree.parent_of(path)
            os.mknod(name, mode, device, dir_fd=parent)
            self._listener.created(path)

    def _make_symlink(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            parent, name = self._tree.parent_of(path)
            os.symlink(bytes(attributes[Field.PATH_LINK]), name, dir_fd=parent)
            self._listener.created(path)

    def _rename(self, attributes: Attributes) -> None:
        old, new = _path(attributes), _path(attributes, Field.PATH_TO)
        is_old_absent, is_new_absent = self._border.is_absent(old), self._border.is_absent(new)
        if not is_old_absent and not is_new_absent:
            self._finish_writing()
            old_parent, old_name = self._tree.parent_of(old)
            new_parent, new_name = self._tree.parent_of(new)
            os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
            self._tree.forget(old)
            self._border.move_below(old, new)
            self._listener.renamed(old, new)
        elif not is_old_absent:
            self._remove_whatever(old)
            self._border.forget_below(old)
        else:
            self._border.forget(old)
            if not is_new_absent:
                self._defer(new)

    def _link(self, attributes: Attributes) -> None:
        path, existing = _path(attributes), _path(attributes, Field.PATH_LINK)
        if self._border.is_absent(path):
            return
        if self._border.is_absent(existing):
            self._defer(path)
            return
        source_parent, source_name = self._tree.parent_of(existing)
        parent, name = self._tree.parent_of(path)
        os.link(
            source_name, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False
        )
        self._listener.linked(existing, path)

    def _unlink(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            self._border.forget(path)
            return
        self._finish_writing()
        parent, name = self._tree.parent_of(path)
        os.unlink(name, dir_fd=parent)
        self._listener.removed(path)

    def _remove_directory(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            self._border.forget(path)
            return
        self._tree.forget(path)
        parent, name = self._tree.parent_of(path)
        os.rmdir(name, dir_fd=parent)
        self._listener.removed(path)

    # Commands that change contents.

    def _write(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            data = attributes[Field.DATA]
            self._write_at(path, _number(attributes, Field.FILE_OFFSET), data)

    def _write_at(self, path: bytes, offset: int, data: memoryview) -> None:
        descriptor = self._open_for_writing(path)
        while data:
            count = os.pwrite(descriptor, data, offset)
            self.bytes_written += count
            offset += count
            data = data[count:]

    def _open_for_writing(self, path: bytes) -> int:
        if self._written and self._written.path == path:
            return self._written.descriptor
        self._finish_writing()
        parent, name = self._tree.parent_of(path)
        descriptor = os.open(name, _WRITE, dir_fd=parent)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        self._written = _OpenFile(path, descriptor, mode)
        self._listener.content_changed(path)
        return descriptor

    def _finish_writing(self) -> None:
        if self._written:
            written, self._written = self._written, None
            try:
                # Some file systems drop these bits with every write, even of root.
                if written.mode & _SET_ID_BITS:
                    os.fchmod(written.descriptor, written.mode)
            finally:
                os.close(written.descriptor)

    def _clone(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            return
        origin_path = _path(attributes, Field.CLONE_PATH)
        is_own = bytes(attributes[Field.CLONE_UUID]) == self._uuid
        if is_own and self._border.is_absent(origin_path):
            self._defer(path)
            return
        origin = self._tree if is_own else self._parent
        if origin is None:
            raise _corrupt("a clone from a snapshot that is not the parent")
        parent, name = origin.parent_of(origin_path)
        source = os.open(name, _READ, dir_fd=parent)
        try:
            self._copy_range(source, path, attributes)
        finally:
            os.close(source)

    def _copy_range(self, source: int, path: bytes, attributes: Attributes) -> None:
        source_offset = _number(attributes, Field.CLONE_OFFSET)
        offset = _number(attributes, Field.FILE_OFFSET)
        end = offset + _number(attributes, Field.CLONE_LEN)
        while offset < end:
            try:
                data = os.pread(source, min(_CLONE_CHUNK_BYTES, end - offset), source_offset)
            except OSError as error:
                raise source_error(error, os.fsdecode(path)) from error
            if not data:
                raise _corrupt(f"a clone reaches beyond the end of its source {path!r}")
            self._write_at(path, offset, memoryview(data))
            offset += len(data)
            source_offset += len(data)

    def _truncate(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path):
            os.ftruncate(self._open_for_writing(path), _number(attributes, Field.SIZE))

    # Commands that change attributes.

    def _change_mode(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            return
        self._finish_writing()
        parent, name = self._tree.parent_of(path)
        # chmod follows links, and no stream changes the mode of one.
        if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
            raise _corrupt(f"CHMOD of a symbolic link {path!r}")
        os.chmod(name, _number(attributes, Field.MODE) & 0o7777, dir_fd=parent)

    def _change_owner(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            return
        self._finish_writing()
        parent, name = self._tree.parent_of(path)
        uid, gid = _number(attributes, Field.UID), _number(attributes, Field.GID)
        mode = os.lstat(name, dir_fd=parent).st_mode
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        # chown drops these bits, and the stream repeats them only if the mode changed too.
        if stat.S_ISREG(mode) and mode & _SET_ID_BITS:
            os.chmod(name, stat.S_IMODE(mode), dir_fd=parent)

    def _set_times(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path):
            return
        if self._written and self._written.path == path:
            self._finish_writing()
        parent, name = self._tree.parent_of(path)
        times = (_nanoseconds(attributes, Field.ATIME), _nanoseconds(attributes, Field.MTIME))
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        self._listener.times_changed(path)

    def _set_xattr(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if self._border.is_absent(path) or not self._can_keep_xattr(path):
            return
        name, value = bytes(attributes[Field.XATTR_NAME]), bytes(attributes[Field.XATTR_DATA])
        os.setxattr(self._through_descriptor(path), name, value, follow_symlinks=False)

    def _remove_xattr(self, attributes: Attributes) -> None:
        path = _path(attributes)
        if not self._border.is_absent(path) and self._has_xattrs:
            name = bytes(attributes[Field.XATTR_NAME])
            os.removexattr(self._through_descriptor(path), name, follow_symlinks=False)

    def _can_keep_xattr(self, path: bytes) -> bool:
        if self._has_xattrs:
            return True
        if not self._may_lose_xattrs:
            raise LossNotAllowed(
                f"{os.fsdecode(path)!r} has extended attributes or ACLs, the target holds none",
                hint='choose a target with xattr=sa, or submit with "allow_loss": ["xattr"]',
            )
        return False

    def _through_descriptor(self, path: bytes) -> bytes:
        # There is no setxattrat() in Python; the name after the descriptor is a single one.
        parent, name = self._tree.parent_of(path)
        return b"/proc/self/fd/%d/%s" % (parent, name)


def _path(attributes: Attributes, field: Field = Field.PATH) -> bytes:
    return bytes(attributes[field]).strip(b"/")


def _number(attributes: Attributes, field: Field) -> int:
    return int.from_bytes(attributes[field], "little")


def _nanoseconds(attributes: Attributes, field: Field) -> int:
    data = attributes[field]
    seconds = int.from_bytes(data[:8], "little", signed=True)
    return seconds * _NANOSECONDS + int.from_bytes(data[8:], "little")


def _corrupt(message: str) -> StreamCorrupt:
    return StreamCorrupt(
        f"btrfs send stream: {message}",
        hint="staging stays at its last verified snapshot; check the source, then submit again",
    )
