"""Apply a btrfs send stream to a directory of any file system, in place.

The directory must hold what the parent snapshot of the stream held, without what is excluded.
After the last command it holds what the sent snapshot holds, again without what is excluded.

A path that is renamed into the excluded part is removed. The content of a path that is renamed out
of the excluded part is not in the stream: the path is *deferred*. Commands on deferred paths are
skipped; the caller copies these paths from the source afterwards.

Guarantees: nothing outside the directory is changed or read, whatever the stream contains.

Raises: StreamCorrupt, which gives the number of the command as `btrfs receive --dump` lists
them; TargetFull, TargetRefused, TargetUnwritable, SourceUnreadable, LossNotAllowed.
"""

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from dsgmigd.errors import LossNotAllowed, StreamCorrupt
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error, source_errors, target_error, target_errors
from dsgmigd.request import Loss
from dsgmigd.source.compression import decode_extent
from dsgmigd.source.send_stream import Attributes, Command, Field, Kind
from dsgmigd.target.capabilities import Capabilities, is_carried_xattr
from dsgmigd.transfer.absent_paths import AbsentPaths
from dsgmigd.transfer.tree import Tree

_NANOSECONDS = 1_000_000_000
_CLONE_CHUNK_BYTES = 1024 * 1024
_SMALLEST_SECTOR_BYTES = 4096
# linux/falloc.h
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_EVERYTHING = Capabilities()
_NO_NAMES = frozenset({b"", b".", b".."})
# The kernel renames a directory to this name at the root, oINODE-GENERATION-NUMBER, until it can
# remove it (gen_unique_name in fs/btrfs/send.c).
_ORPHAN_NAME = re.compile(rb"o\d+-\d+-\d+")
# The path of these commands may be empty: it is the root of the snapshot.
_KINDS_FOR_ROOT = frozenset(
    {Kind.CHMOD, Kind.CHOWN, Kind.UTIMES, Kind.SET_XATTR, Kind.REMOVE_XATTR, Kind.FILEATTR}
)
# Settings of one file system, for which others have no equivalent.
_NOT_CARRIED = {Kind.FILEATTR: "chattr flags", Kind.ENABLE_VERITY: "fs-verity"}


# UUID and last transaction of a snapshot, as streams name it.
_SnapshotId = tuple[bytes, int]


class UnexpectedCommand(Exception):
    """A command that the kernel does not write into a stream as dsgmigd requests it."""


class ChangeListener(Protocol):
    """Receives every change of a path that stays in the tree, in the order of the stream.

    A path is tracked if the listener will look at it again.
    """

    def created(self, path: bytes) -> None:
        """Record that something other than a directory was created at `path`."""

    def linked(self, existing: bytes, path: bytes) -> None:
        """Record that `path` was created as a hard link to `existing`."""

    def created_directory(self, path: bytes) -> None:
        """Record that an empty directory was created at `path`."""

    def renamed(self, old: bytes, new: bytes) -> None:
        """Record that `old`, with everything below it, was renamed to `new`."""

    def removed(self, path: bytes) -> None:
        """Record that `path`, with everything below it, was removed."""

    def content_changed(self, path: bytes) -> bool:
        """Record that the content of the file `path` changed; return whether it is tracked."""

    def times_changed(self, path: bytes) -> bool:
        """Record that the times of `path` were set; return whether it is tracked."""

    def link_group_changed(self, inode: int) -> None:
        """Record that a file with several names changed through a name that is not tracked."""

    def appeared(self, path: bytes) -> None:
        """Record that `path`, with everything below it, was copied from the source by rsync."""


class Replay:
    """One replay of a stream onto the directory `staging`.

    `parent` is the parent snapshot in the source: clone commands read from it. Something that the
    `capabilities` of the target do not cover is an error unless its loss is `allowed`. `nested` are
    the empty directories of the parent that stand for nested subvolumes; streams do not mention
    them. They are removed and deferred, so that they are renamed along with their directories.

    `changed_absent` are the absent paths that the stream changed. If a hard link to such a file
    is in staging, the stream does not mention that link.

    `not_carried` counts commands for what no target gets, by what that is.
    """

    def __init__(
        self,
        staging: Directories,
        listener: ChangeListener,
        *,
        parent: Directories | None = None,
        capabilities: Capabilities = _EVERYTHING,
        allowed: Iterable[Loss] = (),
        nested: Iterable[bytes] = (),
    ) -> None:
        self._tree = Tree(staging)
        self._parent = Tree(parent) if parent else None
        self._listener = listener
        self._capabilities = capabilities
        self._allowed = frozenset(allowed)
        self._nested = tuple(nested)
        self._own_id: _SnapshotId | None = None
        self._parent_id: _SnapshotId | None = None
        self._changed_path: bytes | None = None
        self._absent = AbsentPaths()
        self._orphans: set[bytes] = set()
        self.changed_absent: set[bytes] = set()
        self._checkpoint: Callable[[], None] = lambda: None
        self.not_carried: Counter[str] = Counter()
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[Kind, Callable[[bytes, Attributes], None]]:
        return {
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
            Kind.ENCODED_WRITE: self._write_encoded,
            Kind.CLONE: self._clone,
            Kind.TRUNCATE: self._truncate,
            Kind.FALLOCATE: self._allocate,
            Kind.CHMOD: self._change_mode,
            Kind.CHOWN: self._change_owner,
            Kind.UTIMES: self._set_times,
        }

    @property
    def deferred(self) -> frozenset[bytes]:
        """Paths that must be copied from the source, each with everything below it."""
        return frozenset(self._absent.deferred)

    @property
    def bytes_written(self) -> int:
        """How much was written into files so far."""
        return self._tree.bytes_written

    def apply(self, commands: Iterable[Command], *, checkpoint: Callable[[], None]) -> None:
        """Apply all commands; `checkpoint` is called between them and may raise to stop.

        It is called within a command too that may take long.
        """
        self._checkpoint = checkpoint
        try:
            with contextlib.closing(self._tree):
                for path in self._nested:
                    self._tree.remove_directory(path)
                    self._absent.defer(path)
                for number, (kind, attributes) in enumerate(commands, start=1):
                    checkpoint()
                    self._apply_numbered(number, kind, attributes)
                self._tree.finish_writing()
        except OSError as error:
            raise target_error(error, "finishing a file") from error

    def remove_orphans(self, source: Directories) -> None:
        """Remove the directories that the stream renamed out of the way and did not remove.

        It leaves a directory whose nested subvolume was deleted with it: the stream does not
        mention the subvolume, and the kernel takes the directory for one that is not empty.
        Whatever has such a name in the snapshot `source` stays.
        """
        for path in sorted(self._orphans):
            with source_errors(f"looking for {os.fsdecode(path)!r}"):
                is_in_source = any(source.walk(path))
            if not is_in_source:
                with target_errors(f"removing {os.fsdecode(path)!r}"):
                    self._remove_all(path)

    def _apply_numbered(self, number: int, kind: Kind, attributes: Attributes) -> None:
        """Apply a command; errors give its number in the stream."""
        try:
            self._apply_one(kind, attributes)
        except KeyError as error:
            attribute = getattr(error.args[0], "name", error.args[0])
            raise _corrupt(number, kind, f"lacks the attribute {attribute}") from error
        except UnexpectedCommand as error:
            raise _corrupt(number, kind, str(error)) from error
        except (ValueError, OverflowError) as error:  # no system call accepts it
            raise _corrupt(number, kind, f"cannot be applied: {error}") from error
        except OSError as error:
            subject = os.fsdecode(bytes(attributes.get(Field.PATH, b"")))
            raise target_error(error, f"{kind.name.lower()} of {subject!r}") from error

    def _apply_one(self, kind: Kind, attributes: Attributes) -> None:
        is_root = kind in _KINDS_FOR_ROOT and not attributes[Field.PATH]
        path = b"" if is_root else _path(attributes)
        if kind in {Kind.SUBVOL, Kind.SNAPSHOT}:
            self._begin(kind, attributes)
        elif self._own_id is None:
            raise UnexpectedCommand("comes before the command that begins the stream")
        elif kind is Kind.RENAME:
            self._rename(path, _path(attributes, Field.PATH_TO))
        elif kind is Kind.UPDATE_EXTENT:
            raise UnexpectedCommand("has no data: the stream was made with --no-data")
        elif self._absent.is_absent(path):
            self._note_absent(kind, path)
        elif kind in _NOT_CARRIED:
            self.not_carried[_NOT_CARRIED[kind]] += 1
        else:
            self._handlers[kind](path, attributes)

    def _note_absent(self, kind: Kind, path: bytes) -> None:
        if kind in {Kind.UNLINK, Kind.RMDIR}:
            self._absent.forget(path)
        else:
            self.changed_absent.add(path)

    def _begin(self, kind: Kind, attributes: Attributes) -> None:
        if self._own_id is not None:
            raise UnexpectedCommand("begins a second snapshot in one stream")
        self._own_id = _snapshot_id(attributes, Field.UUID, Field.CTRANSID)
        if kind is Kind.SNAPSHOT:
            self._parent_id = _snapshot_id(attributes, Field.CLONE_UUID, Field.CLONE_CTRANSID)

    # Names.

    def _rename(self, old: bytes, new: bytes) -> None:
        self._changed_path = None
        is_old_absent, is_new_absent = self._absent.is_absent(old), self._absent.is_absent(new)
        if not is_old_absent and not is_new_absent:
            self._tree.rename(old, new)
            self._absent.move_below(old, new)
            self._listener.renamed(old, new)
            if _ORPHAN_NAME.fullmatch(new):
                self._orphans.add(new)
        elif not is_old_absent:
            self._remove_all(old)
            self._absent.forget_below(old)
        else:
            self._absent.forget(old)
            if not is_new_absent:
                self._defer(new)

    def _defer(self, path: bytes) -> None:
        self._remove_all(path)
        self._absent.defer(path)

    def _remove_all(self, path: bytes) -> None:
        if self._tree.remove_all(path):
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
        if self._absent.is_absent(existing):
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

    def _report_content(self, path: bytes) -> None:
        """Report consecutive writes to a file as one change."""
        if path != self._changed_path:
            self._changed_path = path
            self._report_link_group(path, is_tracked=self._listener.content_changed(path))

    def _report_link_group(self, path: bytes, *, is_tracked: bool) -> None:
        """Report a change by inode number if the listener does not track this name of a file."""
        inode = None if is_tracked else self._tree.link_group(path)
        if inode is not None:
            self._listener.link_group_changed(inode)

    def _write(self, path: bytes, attributes: Attributes) -> None:
        offset, data = _number(attributes, Field.FILE_OFFSET), attributes[Field.DATA]
        self._tree.write_at(path, offset, data)
        self._report_content(path)

    def _write_encoded(self, path: bytes, attributes: Attributes) -> None:
        """Write a part of an extent that btrfs compressed."""
        if _optional_number(attributes, Field.ENCRYPTION):
            raise UnexpectedCommand(f"has encrypted data for {path!r}")
        length = _number(attributes, Field.UNENCODED_LEN)
        start = _number(attributes, Field.UNENCODED_OFFSET)
        end = start + _number(attributes, Field.UNENCODED_FILE_LEN)
        if end > length:
            raise UnexpectedCommand(f"of {path!r} writes beyond the end of its extent")
        compression = _optional_number(attributes, Field.COMPRESSION)
        extent = decode_extent(compression, attributes[Field.DATA], length)
        offset = _number(attributes, Field.FILE_OFFSET)
        self._tree.write_at(path, offset, memoryview(extent)[start:end])
        written_end = offset + end - start
        rest_of_sector = -written_end % _SMALLEST_SECTOR_BYTES
        if length % _SMALLEST_SECTOR_BYTES and rest_of_sector:
            # The extent lies inline and stands for a whole sector; the kernel does not send the
            # zeros at its end, even if there is more of the file after it.
            self._tree.punch_hole(path, written_end, rest_of_sector, self._checkpoint)
        self._report_content(path)

    def _truncate(self, path: bytes, attributes: Attributes) -> None:
        self._tree.truncate(path, _number(attributes, Field.SIZE))
        self._report_content(path)

    def _allocate(self, path: bytes, attributes: Attributes) -> None:
        """Punch a hole, or grow the file; space is not reserved, since ZFS could not use it."""
        mode = _number(attributes, Field.FALLOCATE_MODE)
        offset, length = _number(attributes, Field.FILE_OFFSET), _number(attributes, Field.SIZE)
        if mode & _PUNCH_HOLE:
            self._tree.punch_hole(path, offset, length, self._checkpoint)
        elif mode & ~_KEEP_SIZE:
            raise UnexpectedCommand(f"has the unknown mode {mode} for {path!r}")
        elif not mode:
            self._tree.grow(path, offset + length)
        self._report_content(path)

    def _clone(self, path: bytes, attributes: Attributes) -> None:
        origin_path = _path(attributes, Field.CLONE_PATH)
        origin_id = _snapshot_id(attributes, Field.CLONE_UUID, Field.CLONE_CTRANSID)
        # Snapshots of a received subvolume have one UUID in a stream. If even their transactions
        # are the same, nothing differs between them.
        is_own = origin_id == self._own_id
        if is_own and self._absent.is_absent(origin_path):
            self._defer(path)
            return
        source = self._open_origin(origin_path, origin_id, is_own=is_own)
        try:
            self._copy_range(source, path, attributes)
        finally:
            os.close(source)
        self._report_content(path)

    def _open_origin(self, path: bytes, origin_id: _SnapshotId, *, is_own: bool) -> int:
        """Return a descriptor of the file from which a clone takes its bytes."""
        if is_own:
            return self._tree.open_for_reading(path)
        if self._parent is None or origin_id != self._parent_id:
            raise UnexpectedCommand("reads from a snapshot that is not the parent")
        with source_errors(f"opening {os.fsdecode(path)!r} in the parent snapshot"):
            return self._parent.open_for_reading(path)

    def _copy_range(self, source: int, path: bytes, attributes: Attributes) -> None:
        source_offset = _number(attributes, Field.CLONE_OFFSET)
        offset = _number(attributes, Field.FILE_OFFSET)
        end = offset + _number(attributes, Field.CLONE_LEN)
        while offset < end:
            self._checkpoint()
            try:
                data = os.pread(source, min(_CLONE_CHUNK_BYTES, end - offset), source_offset)
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            if not data:
                raise UnexpectedCommand(f"of {path!r} reads beyond the end of its source file")
            self._tree.write_at(path, offset, memoryview(data))
            offset += len(data)
            source_offset += len(data)

    # Attributes.

    def _change_mode(self, path: bytes, attributes: Attributes) -> None:
        # chmod(2) follows symbolic links, and the kernel never sends the mode of one.
        if self._tree.is_symlink(path):
            raise UnexpectedCommand(f"is for a symbolic link, {path!r}")
        self._tree.change_mode(path, stat.S_IMODE(_number(attributes, Field.MODE)))

    def _change_owner(self, path: bytes, attributes: Attributes) -> None:
        uid, gid = _number(attributes, Field.UID), _number(attributes, Field.GID)
        self._tree.change_owner(path, uid, gid)

    def _set_times(self, path: bytes, attributes: Attributes) -> None:
        held = self._capabilities.held_mtime_ns
        mtime_ns = _nanoseconds(attributes, Field.MTIME)
        if self._capabilities.mtime_loss(mtime_ns) == "mtime_range":
            self._check_allowed("mtime_range", path, "a time out of range")
        self._tree.set_times(path, held(_nanoseconds(attributes, Field.ATIME)), held(mtime_ns))
        self._report_link_group(path, is_tracked=self._listener.times_changed(path))

    def _set_xattr(self, path: bytes, attributes: Attributes) -> None:
        name, value = bytes(attributes[Field.XATTR_NAME]), bytes(attributes[Field.XATTR_DATA])
        if not is_carried_xattr(os.fsdecode(name)):
            return
        loss = self._capabilities.xattr_loss(os.fsdecode(name))
        if loss is None:
            self._tree.set_xattr(path, name, value)
        else:
            self._check_allowed(loss, path, os.fsdecode(name))

    def _check_allowed(self, loss: Loss, path: bytes, what: str) -> None:
        """Raise LossNotAllowed; preflight should have done so before anything was copied."""
        if loss not in self._allowed:
            raise LossNotAllowed(
                f"{os.fsdecode(path)!r} has {what}, which the target cannot hold",
                hint=f'choose another target, or submit with "allow_loss": ["{loss}"]',
            )

    def _remove_xattr(self, path: bytes, attributes: Attributes) -> None:
        name = bytes(attributes[Field.XATTR_NAME])
        text = os.fsdecode(name)
        if is_carried_xattr(text) and self._capabilities.xattr_loss(text) is None:
            self._tree.remove_xattr(path, name)


def _path(attributes: Attributes, field: Field = Field.PATH) -> bytes:
    path = bytes(attributes[field])
    if b"\0" in path or not _NO_NAMES.isdisjoint(path.split(b"/")):
        raise UnexpectedCommand(f"has the path {path!r}, which is not below the snapshot")
    return path


def _snapshot_id(attributes: Attributes, uuid: Field, transaction: Field) -> _SnapshotId:
    return bytes(attributes[uuid]), _number(attributes, transaction)


def _number(attributes: Attributes, field: Field) -> int:
    return int.from_bytes(attributes[field], "little")


def _optional_number(attributes: Attributes, field: Field) -> int:
    return int.from_bytes(attributes.get(field, b""), "little")


def _nanoseconds(attributes: Attributes, field: Field) -> int:
    data = attributes[field]
    seconds = int.from_bytes(data[:8], "little", signed=True)
    fraction = int.from_bytes(data[8:], "little")
    if fraction >= _NANOSECONDS:
        raise ValueError(f"{fraction} nanoseconds are more than one second")
    return seconds * _NANOSECONDS + fraction


def _corrupt(number: int, kind: Kind, message: str) -> StreamCorrupt:
    return StreamCorrupt(
        f"btrfs send stream, command {number}: {kind.name} {message}",
        hint="staging stays at its last verified snapshot; check the source, then submit again",
    )
