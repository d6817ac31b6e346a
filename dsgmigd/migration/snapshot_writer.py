"""Write one snapshot into staging: contents by replay or rsync, then DSG's metadata.

Leaving errors: those of dsgmigd.btrfs.replay, dsgmigd.rsync and dsgmigd.dsg.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from dsgmigd.abilities import Abilities
from dsgmigd.borders import make_borders, split_paths
from dsgmigd.btrfs.replay import Replay
from dsgmigd.btrfs.stream import NEWEST_VERSION, read_commands
from dsgmigd.btrfs.subvolume import newest_send_protocol
from dsgmigd.command import Commands
from dsgmigd.descriptors import Directories
from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.metadata import (
    Metadata,
    Previous,
    make_metadata,
    render_manifest,
    split_manifest,
)
from dsgmigd.dsg.pushlog import Push
from dsgmigd.dsg.refresh import Refresher, note_hard_links
from dsgmigd.dsg.scope import Scope
from dsgmigd.dsg.tags import TagLink, make_tags
from dsgmigd.errors import CommandFailed, TargetChanged
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.file_errors import source_error, source_errors, target_errors
from dsgmigd.hard_links import names_across_border
from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.read_scope import read_scope
from dsgmigd.request import Loss
from dsgmigd.rsync import Rsync
from dsgmigd.source import HeldSnapshot
from dsgmigd.unreadable import raise_unreadable


@dataclass(frozen=True)
class Written:
    """What one step wrote."""

    metadata: dict[str, Any]
    bytes_written: int
    files_hashed: int
    refused: list[str]
    metadata_seconds: float
    scope: Scope


class _UnwantedError(Exception):
    """Leaves the pipe of a stream that nobody will read."""


class SnapshotWriter:
    """Brings the staging directory `root` from snapshot to snapshot."""

    def __init__(
        self,
        root: str,
        *,
        commands: Commands,
        abilities: Abilities,
        allowed: tuple[Loss, ...],
        send_protocol: int | None,
        progress: Progress,
    ) -> None:
        self._root = root
        self._commands = commands
        self._abilities = abilities
        self._allowed = allowed
        self._borders: frozenset[bytes] = frozenset()
        self._send_protocol = send_protocol
        self._progress = progress
        self._rsync = Rsync(commands, abilities, progress.checkpoint)
        self._dsg = DsgDirectory(root)
        self._manifest = Manifest()
        self._messages: list[Metadata] = []
        self._begun: tuple[SnapshotName, IO[bytes]] | None = None
        self._stream = ExitStack()

    def close(self) -> None:
        """End a stream that was begun and is not wanted any more."""
        begun, self._begun = self._begun, None
        if begun is not None:
            # Left by an error, a pipe ends its program; left in good order, it waits for the end.
            with contextlib.suppress(_UnwantedError), self._stream:
                raise _UnwantedError

    def begin(self, held: HeldSnapshot, parent: HeldSnapshot) -> None:
        """Let the source prepare the next stream while other things are done.

        It waits, a full pipe at most, until `write` takes it; what fails shows there.
        """
        self.close()
        pipe = self._commands.pipe(*self._send_command(held, parent))
        self._begun = held.name, self._stream.enter_context(pipe)

    def set_borders(self, borders: Iterable[str]) -> None:
        """Learn at which paths of staging empty directories stand for other subvolumes."""
        self._borders = frozenset(os.fsencode(path) for path in borders)

    def load(self) -> None:
        """Take up the metadata that the last snapshot left in staging."""
        try:
            for path, entry in split_manifest(self._dsg.read_manifest()):
                self._manifest.load(path, entry)
        except (ValueError, KeyError, AttributeError) as error:
            raise TargetChanged(
                f"{self._root}/.dsg/last-sync.json is not what dsgmigd wrote: {error}",
                hint="restore it from the last snapshot of the dataset",
            ) from error
        self._messages = self._dsg.read_messages()
        with target_errors(f"opening {self._root}"), Directories(self._root) as staging:
            note_hard_links(self._manifest, staging)

    def write(
        self,
        held: HeldSnapshot,
        parent: HeldSnapshot | None,
        push: Push,
        *,
        is_sent: bool,
        nested: frozenset[bytes] = frozenset(),
        tags: Sequence[TagLink] | None = None,
    ) -> Written:
        """Make staging equal to the snapshot `held`; it is equal to `parent` now.

        `nested` are paths at which other subvolumes may begin that `parent` did not have. `tags`
        are written if they are given; else what `parent` says of tags stays.
        """
        bytes_before = self._progress.bytes_written
        before = self._manifest
        with source_errors(f"reading the scope of {held.name}"):
            scope = read_scope(held.path)
            has_other_scope = parent is not None and read_scope(parent.path) != scope
        if has_other_scope:
            self._manifest = Manifest()  # it hears the replay in vain
        try:
            self._write_contents(held, parent, nested, is_sent=is_sent)
        except CommandFailed:
            raise_unreadable(held, held.changed_since(parent) or 0, self._progress.checkpoint)
            raise
        if has_other_scope or not is_sent:
            self._manifest = _reread_all(before, self._root)
        self._progress.enter("manifest")
        began = time.monotonic()
        refresher = self._settle(held, push.user, scope)
        metadata = self._write_metadata(held.name, push)
        if tags is not None:
            self._dsg.write_tags(make_tags(tags, self._messages, self._dsg.read_tags()))
        self._set_root_times(held)
        return Written(
            metadata,
            bytes_written=self._progress.bytes_written - bytes_before,
            files_hashed=refresher.files_hashed,
            refused=refresher.refused,
            scope=scope,
            metadata_seconds=time.monotonic() - began,
        )

    def _write_contents(
        self,
        held: HeldSnapshot,
        parent: HeldSnapshot | None,
        nested: frozenset[bytes],
        *,
        is_sent: bool,
    ) -> None:
        if is_sent:
            self._replay(held, parent, nested)
        else:
            self._rsync.mirror(held.path, self._root)

    def _settle(self, held: HeldSnapshot, user: str, scope: Scope) -> Refresher:
        """Bring the manifest up to date; return what did it, with what it counted."""
        with (
            target_errors(f"opening {self._root}"),
            Directories(self._root) as staging,
            source_errors(f"opening {held.path}"),
            Directories(held.path) as source,
        ):
            refresher = Refresher(
                self._manifest,
                staging=staging,
                source=source,
                user=user,
                checkpoint=self._progress.checkpoint,
                scope=scope,
                held_mtime_ns=self._abilities.held_mtime_ns,
            )
            refresher.settle_all()
        return refresher

    def _replay(
        self, held: HeldSnapshot, parent: HeldSnapshot | None, nested: frozenset[bytes]
    ) -> None:
        before = self._progress.bytes_written

        def checkpoint() -> None:
            self._progress.bytes_written = before + replay.bytes_written
            self._progress.checkpoint()

        with self._sending(held, parent) as stream:
            # It holds the staging directory open until it is applied, and a stream may not come.
            replay = Replay(
                self._root,
                self._manifest,
                parent_root=parent.path if parent else None,
                abilities=self._abilities,
                allowed=self._allowed,
                borders=self._borders if parent else (),
            )
            replay.apply(read_commands(_reader(stream)), checkpoint=checkpoint)
        checkpoint()
        # Of what was deferred, a border may be gone by now, or something else be in its place.
        deferred, self._borders = split_paths(held.path, replay.deferred | nested)
        paths = deferred | names_across_border(held.path, deferred, replay.changed_outside)
        if paths:
            self._rsync.copy_paths(paths, held.path, self._root)
            for path in sorted(paths):
                self._manifest.appeared(path)
        make_borders(self._borders, held.path, self._root)

    @contextlib.contextmanager
    def _sending(self, held: HeldSnapshot, parent: HeldSnapshot | None) -> Iterator[IO[bytes]]:
        """Give the stream of `held`: the one that was begun, or a new one."""
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != held.name:
            with self._commands.pipe(*self._send_command(held, parent)) as stream:
                yield stream
        else:
            with self._stream:  # its end is the end of the pipe: it waits, and checks the status
                yield begun[1]

    def _send_command(self, held: HeldSnapshot, parent: HeldSnapshot | None) -> list[str]:
        protocol = self._send_protocol or min(newest_send_protocol(), NEWEST_VERSION)
        command = ["btrfs", "send", "-q", "--proto", str(protocol)]
        if parent is not None:
            command += ["-p", parent.path]
        return [*command, held.path]

    def _write_metadata(self, name: SnapshotName, push: Push) -> Metadata:
        previous = None
        if self._messages:
            last = self._messages[-1]
            previous = Previous(SnapshotName.parse(last["snapshot_id"]), last["snapshot_hash"])

        def describe(entry_count: int, entries_hash: str) -> Metadata:
            self._messages.append(make_metadata(name, entry_count, entries_hash, push, previous))
            return self._messages[-1]

        self._dsg.write_manifest(
            render_manifest(self._manifest.lines(), describe),
            previous=str(previous.snapshot) if previous else None,
        )
        self._dsg.write_messages(self._messages)
        return self._messages[-1]

    def _set_root_times(self, held: HeldSnapshot) -> None:
        """Give the root the times of the source's: writing `.dsg` moved them."""
        with source_errors("looking at the root"):
            status = os.lstat(held.path)
        with target_errors("setting the times of the root"):
            os.utime(self._root, ns=(status.st_atime_ns, status.st_mtime_ns))


def _reader(stream: IO[bytes]) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        try:
            return stream.read(count)
        except OSError as error:
            raise source_error(error, "reading the send stream") from error

    return read


def _reread_all(before: Manifest, root: str) -> Manifest:
    """Return a manifest that knows nothing of the files below `root` but who pushed them.

    rsync does not tell what it changed, and another scope lists what did not change: every file is
    looked at again.
    """
    manifest = Manifest()
    manifest.remember_entries(before)
    with target_errors(f"listing {root}"):
        names = os.listdir(os.fsencode(root))
    for name in names:
        if name != DSG_DIRECTORY and not is_excluded_name(name):
            manifest.appeared(name)
    return manifest
