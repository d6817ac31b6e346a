"""Apply a btrfs send stream to a directory of any file system, in place.

The directory must hold what the parent snapshot of the stream held, without what is excluded.
After the last command it holds what the sent snapshot holds, again without what is excluded.

A path that is renamed into the excluded part is removed. The content of a path that is renamed out
of the excluded part is not in the stream: the path is *deferred*. So is a file of which the stream
does not tell the size. Commands on deferred paths are skipped; the caller copies these paths from
the source afterwards.

Guarantees: nothing outside the directory is changed or read, whatever the stream contains.

Raises: StreamCorrupt, which gives the number of the command as `btrfs receive --dump` lists
them; TargetFull, TargetRefused, TargetUnwritable, SourceUnreadable, LossNotAllowed.
"""

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from dsgmigd.errors import StreamCorrupt
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import target_error, target_errors
from dsgmigd.request import Loss
from dsgmigd.source.send_stream import Attributes, Command, Field, Kind
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.absent_paths import AbsentPaths
from dsgmigd.transfer.attributes import AttributeChanges
from dsgmigd.transfer.fields import (
    UnexpectedCommand,
    checked_path,
    number_in,
    path_in,
    snapshot_in,
)
from dsgmigd.transfer.orphans import Orphans
from dsgmigd.transfer.reports import ChangeListener, ReportingTree
from dsgmigd.transfer.tree import Tree
from dsgmigd.transfer.writes import Writes

_EVERYTHING = Capabilities()
# The path of these commands may be empty: it is the root of the snapshot.
_KINDS_FOR_ROOT = frozenset(
    {Kind.CHMOD, Kind.CHOWN, Kind.UTIMES, Kind.SET_XATTR, Kind.REMOVE_XATTR, Kind.FILEATTR}
)
_BEGINNINGS = frozenset({Kind.SUBVOL, Kind.SNAPSHOT})
# Settings of one file system, for which others have no equivalent.
_NOT_CARRIED = {Kind.FILEATTR: "chattr flags", Kind.ENABLE_VERITY: "fs-verity"}


class Replay:
    """One replay of a stream onto the directory `staging`.

    `parent` is the parent snapshot in the source: clone commands read from it. `source` is the sent
    snapshot, for what a stream leaves out. Something that the
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
        source: Directories | None = None,
        capabilities: Capabilities = _EVERYTHING,
        allowed: Iterable[Loss] = (),
        nested: Iterable[bytes] = (),
    ) -> None:
        self._tree = ReportingTree(staging, listener)
        self._writes = Writes(self._tree, Tree(parent) if parent else None, source)
        self._attributes = AttributeChanges(self._tree, capabilities, frozenset(allowed))
        self._listener = listener
        self._nested = tuple(nested)
        # A path that is below the snapshot, and not absent: most commands are for the same again.
        self._present_path: bytes | None = None
        self._absent = AbsentPaths()
        self._orphans = Orphans()
        self.changed_absent: set[bytes] = set()
        self.not_carried: Counter[str] = Counter()
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[Kind, Callable[[bytes, Attributes], None]]:
        return {
            Kind.MKFILE: self._make_file,
            Kind.MKDIR: self._make_directory,
            Kind.MKNOD: self._make_node,
            Kind.MKFIFO: partial(self._make_special, stat.S_IFIFO | 0o600),
            Kind.MKSOCK: partial(self._make_special, stat.S_IFSOCK | 0o600),
            Kind.SYMLINK: self._make_symlink,
            Kind.LINK: self._link,
            Kind.UNLINK: self._unlink,
            Kind.RMDIR: self._remove_directory,
            Kind.SET_XATTR: self._attributes.set_xattr,
            Kind.REMOVE_XATTR: self._attributes.remove_xattr,
            Kind.WRITE: self._writes.write,
            Kind.ENCODED_WRITE: self._writes.write_encoded,
            Kind.CLONE: self._clone,
            Kind.TRUNCATE: self._writes.truncate,
            Kind.FALLOCATE: self._writes.allocate,
            Kind.CHMOD: self._attributes.change_mode,
            Kind.CHOWN: self._attributes.change_owner,
            Kind.UTIMES: self._set_times,
        }

    @property
    def deferred(self) -> frozenset[bytes]:
        """Paths that must be copied from the source, each with everything below it."""
        return frozenset(self._absent.deferred)

    @property
    def bytes_written(self) -> int:
        """How much was written into files so far."""
        return self._writes.bytes_written

    def apply(self, commands: Iterable[Command], *, checkpoint: Callable[[], None]) -> None:
        """Apply all commands; `checkpoint` is called between them and may raise to stop.

        It is called within a command too that may take long.
        """
        self._writes.checkpoint = checkpoint
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
        """Remove what the stream renamed out of the way and the snapshot `source` does not have."""
        for path in self._orphans.left_in(source):
            with target_errors(f"removing {os.fsdecode(path)!r}"):
                self._remove_all(path)

    def _apply_numbered(self, number: int, kind: Kind, attributes: Attributes) -> None:
        """Apply a command; errors give its number in the stream."""
        try:
            path = bytes(attributes[Field.PATH])
            if path == self._present_path and (handler := self._handlers.get(kind)):
                handler(path, attributes)
            else:
                self._apply_one(kind, path, attributes)
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

    def _apply_one(self, kind: Kind, path: bytes, attributes: Attributes) -> None:
        if path or kind not in _KINDS_FOR_ROOT:
            checked_path(path)
        if kind in _BEGINNINGS:
            self._begin(kind, attributes)
        elif self._writes.own_id is None:
            raise UnexpectedCommand("comes before the command that begins the stream")
        elif kind is Kind.RENAME:
            self._rename(path, path_in(attributes, Field.PATH_TO))
        elif kind is Kind.UPDATE_EXTENT:
            raise UnexpectedCommand("has no data: the stream was made with --no-data")
        elif self._absent.is_absent(path):
            self._note_absent(kind, path)
        elif kind in _NOT_CARRIED:
            self.not_carried[_NOT_CARRIED[kind]] += 1
        else:
            self._present_path = path or None
            self._handlers[kind](path, attributes)

    def _note_absent(self, kind: Kind, path: bytes) -> None:
        if kind in {Kind.UNLINK, Kind.RMDIR}:
            self._absent.forget(path)
        else:
            self.changed_absent.add(path)

    def _begin(self, kind: Kind, attributes: Attributes) -> None:
        if self._writes.own_id is not None:
            raise UnexpectedCommand("begins a second snapshot in one stream")
        self._writes.own_id = snapshot_in(attributes, Field.UUID, Field.CTRANSID)
        if kind is Kind.SNAPSHOT:
            parent_id = snapshot_in(attributes, Field.CLONE_UUID, Field.CLONE_CTRANSID)
            self._writes.parent_id = parent_id

    # Names.

    def _rename(self, old: bytes, new: bytes) -> None:
        is_old_absent = old != self._present_path and self._absent.is_absent(old)
        is_new_absent = self._absent.is_absent(new)
        if not is_old_absent and not is_new_absent:
            self._tree.rename(old, new)
            self._absent.move_below(old, new)
            self._present_path = new
            self._orphans.note(new)
        elif not is_old_absent:
            self._remove_all(old)
            self._absent.forget_below(old)
        else:
            self._absent.forget(old)
            if not is_new_absent:
                self._defer(new)

    def _defer(self, path: bytes) -> None:
        self._present_path = None
        self._remove_all(path)
        self._absent.defer(path)

    def _remove_all(self, path: bytes) -> None:
        if self._tree.remove_all(path):
            self._listener.removed(path)

    def _make_file(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_file(path)

    def _make_directory(self, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_directory(path)
        self._listener.created_directory(path)

    def _make_node(self, path: bytes, attributes: Attributes) -> None:
        mode, device = number_in(attributes, Field.MODE), number_in(attributes, Field.RDEV)
        self._tree.make_special(path, mode, device)
        self._listener.created(path)

    def _make_special(self, mode: int, path: bytes, _attributes: Attributes) -> None:
        self._tree.make_special(path, mode)
        self._listener.created(path)

    def _make_symlink(self, path: bytes, attributes: Attributes) -> None:
        self._tree.make_symlink(path, bytes(attributes[Field.PATH_LINK]))
        self._listener.created(path)

    def _link(self, path: bytes, attributes: Attributes) -> None:
        existing = path_in(attributes, Field.PATH_LINK)
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

    def _set_times(self, path: bytes, attributes: Attributes) -> None:
        if self._writes.settle_size(path, attributes):
            self._attributes.set_times(path, attributes)
        else:
            self._defer(path)

    def _clone(self, path: bytes, attributes: Attributes) -> None:
        is_own = self._writes.is_own_clone(attributes)
        if is_own and self._absent.is_absent(path_in(attributes, Field.CLONE_PATH)):
            self._defer(path)
        else:
            self._writes.clone(path, attributes)


def _corrupt(number: int, kind: Kind, message: str) -> StreamCorrupt:
    return StreamCorrupt(
        f"btrfs send stream, command {number}: {kind.name} {message}",
        hint="staging stays at its last verified snapshot; check the source, then submit again",
    )
