"""Apply a btrfs send stream to a directory of any file system, in place.

The directory holds what the stream's parent held, less what the exclusion rule keeps out. After
the last command it holds what the sent snapshot holds, again less the excluded. What crosses the
border into the excluded part is removed; what comes out of it cannot be had from the stream, so its
path is *deferred*: commands on it are skipped, and at the end it is copied from the source.

Listeners hear of every change of a path that stays in the tree, in the order of the stream.

Leaving errors: StreamCorrupt, which names the number of the command as `btrfs receive --dump` lists
them; TargetFull, TargetRefused, TargetUnwritable, SourceUnreadable, LossNotAllowed.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import Protocol

from dsgmigd.abilities import Abilities, is_carried_xattr
from dsgmigd.btrfs.border import Border
from dsgmigd.btrfs.stream import Attributes, Command, Field, Kind
from dsgmigd.btrfs.tree import Tree
from dsgmigd.errors import LossNotAllowed, StreamCorrupt
from dsgmigd.file_errors import source_error, source_errors, target_error, target_errors
from dsgmigd.request import Loss

_NANOSECONDS = 1_000_000_000
_CLONE_CHUNK_BYTES = 1024 * 1024
# linux/falloc.h
_KEEP_SIZE = 1
_EVERYTHING = Abilities()
_PUNCH_HOLE = 2
_NO_NAMES = frozenset({b"", b".", b".."})
# Their path may be empty: the root of the snapshot.
_KINDS_FOR_ROOT = frozenset(
    {Kind.CHMOD, Kind.CHOWN, Kind.UTIMES, Kind.SET_XATTR, Kind.REMOVE_XATTR, Kind.FILEATTR}
)


class _Misfit(Exception):
    """A command that no kernel sends, or that was not asked for."""


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

    def content_changed(self, path: bytes) -> bool:
        """Hear that the bytes of the file at `path` changed; say whether that path is followed."""

    def times_changed(self, path: bytes) -> bool:
        """Hear that the times of `path` were set; say whether that path is followed."""

    def link_group_changed(self, inode: int) -> None:
        """Hear that a file with several names changed by a name that is not followed."""

    def appeared(self, path: bytes) -> None:
        """Hear that `path`, with all below it, came from outside the stream."""


class Replay:
    """One replay onto the directory `root`.

    `parent_root` is the parent snapshot as it is in the source: clones read from it. What the
    target's `abilities` do not cover is an error unless its loss is `allowed`. `borders` are the
    empty directories of the parent where other subvolumes begin, of which streams do not tell:
    they are removed, deferred, and move with their directories.

    `changed_outside` are the paths beyond the border that the stream changed: a file there may
    have names inside, by hard links, of which the stream does not tell.
    """

    def __init__(
        self,
        root: str,
        listener: ChangeListener,
        *,
        parent_root: str | None = None,
        abilities: Abilities = _EVERYTHING,
        allowed: Iterable[Loss] = (),
        borders: Iterable[bytes] = (),
    ) -> None:
        with contextlib.ExitStack() as opened:
            with target_errors(f"opening {root}"):
                self._tree = opened.enter_context(contextlib.closing(Tree(root)))
            with source_errors(f"opening {parent_root}"):
                self._parent = (
                    opened.enter_context(contextlib.closing(Tree(parent_root)))
                    if parent_root
                    else None
                )
            self._opened = opened.pop_all()
        self._listener = listener
        self._abilities = abilities
        self._allowed = frozenset(allowed)
        self._borders = tuple(borders)
        self._uuid = b""
        self._changed_path: bytes | None = None
        self._border = Border()
        self.changed_outside: set[bytes] = set()
        self._handlers: dict[Kind, Callable[[bytes, Attributes], None]] = {
            Kind.MKFILE: self._make_file,
            Kind.MKDIR: self._make_directory,
            Kind.MKNOD: self._make_node,
            Kind.MKFIFO: self._make_fifo,
            Kind.MKSOCK: self._make_socket,
            Kind.SYMLINK: self._make_symlink,
            Kind.LINK: self._link,
            Kind.UNLINK: self._unlink,
            Kind.RMDIR: self._remove_directory,
            Kind.SET_XATTR: self._set_xattr,
            Kind.REMOVE_XATTR: self._remove_xattr,
            Kind.WRITE: self._write,
            Kind.CLONE: self._clone,
            Kind.TRUNCATE: self._truncate,
            Kind.FALLOCATE: self._allocate,
            Kind.CHMOD: self._change_mode,
            Kind.CHOWN: self._change_owner,
            Kind.UTIMES: self._set_times,
            Kind.FILEATTR: lambda _path, _attributes: None,  # chattr flags are not carried
        }

    @property
    def deferred(self) -> frozenset[bytes]:
        """Paths that must be copied from the source, each with all below it."""
        return frozenset(self._border.deferred)

    @property
    def bytes_written(self) -> int:
        """How much was written into files so far."""
        return self._tree.bytes_written

    def apply(self, commands: Iterable[Command], *, checkpoint: Callable[[], None]) -> None:
        """Apply all commands; `checkpoint` is called between them and may raise to stop."""
        try:
            with self._opened:
                for path in self._borders:
                    self._tree.remove_directory(path)
                    self._border.defer(path)
                for number, (kind, attributes) in enumerate(commands, start=1):
                    checkpoint()
                    self._apply_numbered(number, kind, attributes)
                self._tree.finish_writing()
        except OSError as error:
            raise target_error(error, "finishing a file") from error

    def _apply_numbered(self, number: int, kind: Kind, attributes: Attributes) -> None:
        """Apply a command; what is wrong with it is told with its number in the stream."""
        try:
            self._apply_one(kind, attributes)
        except KeyError as error:
            raise _corrupt(number, kind, f"lacks its attribute {error.args[0]!r}") from error
        except _Misfit as error:
            raise _corrupt(number, kind, str(error)) from error
        except (ValueError, OverflowError) as error:  # what no system call takes
            raise _corrupt(number, kind, f"cannot be done: {error}") from error
        except OSError as error:
            subject = os.fsdecode(bytes(attributes.get(Field.PATH, b"")))
            raise target_error(error, f"{kind.name.lower()} of {subject!r}") from error

    def _apply_one(self, kind: Kind, attributes: Attributes) -> None:
        is_root = kind in _KINDS_FOR_ROOT and not attributes[Field.PATH]
        path = b"" if is_root else _path(attributes)
        if kind in {Kind.SUBVOL, Kind.SNAPSHOT}:
            self._uuid = bytes(attributes[Field.UUID])
        elif kind is Kind.RENAME:
            self._rename(path, _path(attributes, Field.PATH_TO))
        elif kind is Kind.UPDATE_EXTENT:
            raise _Misfit("carries no data: the stream was made with --no-data")
        elif kind not in self._handlers:
            raise _Misfit("is not one that was asked for")
        elif not self._border.is_absent(path):
            self._handlers[kind](path, attributes)
        elif kind in {Kind.UNLINK, Kind.RMDIR}:
            self._border.forget(path)
        else:
            self.changed_outside.add(path)

    # Names.

    def _rename(self, old: bytes, new: bytes) -> None:
        self._changed_path = None
        is_old_absent, is_new_absent = self._border.is_absent(old), self._border.is_absent(new)
        if not is_old_absent and not is_new_absent:
            self._tree.rename(old, new)
            self._border.move_below(old, new)
            self._listener.renamed(old, new)
        elif not is_old_absent:
            self._remove_whatever(old)
            self._border.forget_below(old)
        else:
            self._border.forget(old)
            if not is_new_absent:
                self._defer(new)

    def _defer(self, path: bytes) -> None:
        self._remove_whatever(path)
        self._border.defer(path)

    def _remove_whatever(self, path: bytes) -> None:
        if self._tree.remove_whatever(path):
            self._listener.removed(path)

    def _make_file(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_file(path)
        self._listener.created(path)

    def _make_directory(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_directory(path)
        self._listener.created_directory(path)

    def _make_node(self, path: bytes, attributes: Attributes) -> None:
        mode, device = _number(attributes, Field.MODE), _number(attributes, Field.RDEV)
        self._tree.make_special(path, mode, device)
        self._listener.created(path)

    def _make_fifo(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_special(path, stat.S_IFIFO | 0o600)
        self._listener.created(path)

    def _make_socket(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_special(path, stat.S_IFSOCK | 0o600)
        self._listener.created(path)

    def _make_symlink(self, path: bytes, attributes: Attributes) -> None:
        self._tree.make_symlink(path, bytes(attributes[Field.PATH_LINK]))
        self._listener.created(path)

    def _link(self, path: bytes, attributes: Attributes) -> None:
        existing = _path(attributes, Field.PATH_LINK)
        if self._border.is_absent(existing):
            self._defer(path)
        else:
            self._tree.link(existing, path)
            self._listener.linked(existing, path)

    def _unlink(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.unlink(path)
        self._listener.removed(path)

    def _remove_directory(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.remove_directory(path)
        self._listener.removed(path)

    # Contents.

    def _note_content(self, path: bytes) -> None:
        """Tell of a change once for all the writes to a file that follow each other."""
        if path != self._changed_path:
            self._changed_path = path
            self._tell_group(path, is_followed=self._listener.content_changed(path))

    def _tell_group(self, path: bytes, *, is_followed: bool) -> None:
        """Tell of a change by a name that the listener does not follow, by its inode."""
        inode = None if is_followed else self._tree.link_group(path)
        if inode is not None:
            self._listener.link_group_changed(inode)

    def _write(self, path: bytes, attributes: Attributes) -> None:
        offset, data = _number(attributes, Field.FILE_OFFSET), attributes[Field.DATA]
        self._tree.write_at(path, offset, data)
        self._note_content(path)

    def _truncate(self, path: bytes, attributes: Attributes) -> None:
        self._tree.truncate(path, _number(attributes, Field.SIZE))
        self._note_content(path)

    def _allocate(self, path: bytes, attributes: Attributes) -> None:
        """Punch a hole, or grow; space itself is not set aside: ZFS would not use it."""
        mode = _number(attributes, Field.FALLOCATE_MODE)
        offset, length = _number(attributes, Field.FILE_OFFSET), _number(attributes, Field.SIZE)
        if mode & _PUNCH_HOLE:
            self._tree.punch_hole(path, offset, length)
        elif mode & ~_KEEP_SIZE:
            raise _Misfit(f"has the unknown mode {mode} for {path!r}")
        elif not mode:
            self._tree.grow(path, offset + length)
        self._note_content(path)

    def _clone(self, path: bytes, attributes: Attributes) -> None:
        origin_path = _path(attributes, Field.CLONE_PATH)
        is_own = bytes(attributes[Field.CLONE_UUID]) == self._uuid
        if is_own and self._border.is_absent(origin_path):
            self._defer(path)
            return
        origin = self._tree if is_own else self._parent
        if origin is None:
            raise _Misfit("takes from a snapshot that is not the parent")
        source = origin.open_for_reading(origin_path)
        try:
            self._copy_range(source, path, attributes)
        finally:
            os.close(source)
        self._note_content(path)

    def _copy_range(self, source: int, path: bytes, attributes: Attributes) -> None:
        source_offset = _number(attributes, Field.CLONE_OFFSET)
        offset = _number(attributes, Field.FILE_OFFSET)
        end = offset + _number(attributes, Field.CLONE_LEN)
        while offset < end:
            try:
                data = os.pread(source, min(_CLONE_CHUNK_BYTES, end - offset), source_offset)
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            if not data:
                raise _Misfit(f"of {path!r} reaches beyond the end of its source")
            self._tree.write_at(path, offset, memoryview(data))
            offset += len(data)
            source_offset += len(data)

    # Attributes.

    def _change_mode(self, path: bytes, attributes: Attributes) -> None:
        # chmod follows links, and no stream changes the mode of one.
        if self._tree.is_symlink(path):
            raise _Misfit(f"is for a symbolic link, {path!r}")
        self._tree.change_mode(path, stat.S_IMODE(_number(attributes, Field.MODE)))

    def _change_owner(self, path: bytes, attributes: Attributes) -> None:
        uid, gid = _number(attributes, Field.UID), _number(attributes, Field.GID)
        self._tree.change_owner(path, uid, gid)

    def _set_times(self, path: bytes, attributes: Attributes) -> None:
        held = self._abilities.held_mtime_ns
        mtime_ns = _nanoseconds(attributes, Field.MTIME)
        if self._abilities.mtime_loss(mtime_ns) == "mtime_range":
            self._check_allowed("mtime_range", path, "a time out of range")
        self._tree.set_times(path, held(_nanoseconds(attributes, Field.ATIME)), held(mtime_ns))
        self._tell_group(path, is_followed=self._listener.times_changed(path))

    def _set_xattr(self, path: bytes, attributes: Attributes) -> None:
        name, value = bytes(attributes[Field.XATTR_NAME]), bytes(attributes[Field.XATTR_DATA])
        if not is_carried_xattr(os.fsdecode(name)):
            return
        loss = self._abilities.xattr_loss(os.fsdecode(name))
        if loss is None:
            self._tree.set_xattr(path, name, value)
        else:
            self._check_allowed(loss, path, os.fsdecode(name))

    def _check_allowed(self, loss: Loss, path: bytes, what: str) -> None:
        """Raise LossNotAllowed for what the survey before the replay should have found."""
        if loss not in self._allowed:
            raise LossNotAllowed(
                f"{os.fsdecode(path)!r} has {what}, which the target cannot hold",
                hint=f'choose another target, or submit with "allow_loss": ["{loss}"]',
            )

    def _remove_xattr(self, path: bytes, attributes: Attributes) -> None:
        name = bytes(attributes[Field.XATTR_NAME])
        text = os.fsdecode(name)
        if is_carried_xattr(text) and self._abilities.xattr_loss(text) is None:
            self._tree.remove_xattr(path, name)


def _path(attributes: Attributes, field: Field = Field.PATH) -> bytes:
    path = bytes(attributes[field])
    if b"\0" in path or not _NO_NAMES.isdisjoint(path.split(b"/")):
        raise _Misfit(f"names {path!r}, which is no path below the snapshot")
    return path


def _number(attributes: Attributes, field: Field) -> int:
    return int.from_bytes(attributes[field], "little")


def _nanoseconds(attributes: Attributes, field: Field) -> int:
    data = attributes[field]
    seconds = int.from_bytes(data[:8], "little", signed=True)
    fraction = int.from_bytes(data[8:], "little")
    if fraction >= _NANOSECONDS:
        raise ValueError(f"{fraction} nanoseconds are more than a second")
    return seconds * _NANOSECONDS + fraction


def _corrupt(number: int, kind: Kind, message: str) -> StreamCorrupt:
    return StreamCorrupt(
        f"btrfs send stream, command {number}: {kind.name} {message}",
        hint="staging stays at its last verified snapshot; check the source, then submit again",
    )
