"""Bring the contents of the staging directory from one snapshot to the next.

A snapshot that can be sent is replayed from its send stream; any other is copied by rsync.

Raises: the errors of `source.btrfs_send`, `replay` and `rsync`; SourceUnreadable, with the name of
the file, where a program failed because it could not read one.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from dsgmigd.errors import CommandFailed
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.request import Loss
from dsgmigd.source.btrfs_send import SendProtocol, SendStreams, commands_in
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.unreadable import raise_unreadable
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.hard_links import find_migrated_names
from dsgmigd.transfer.misfits import remove_misfits, set_held_times
from dsgmigd.transfer.nested_subvolumes import make_empty_directories, separate_nested
from dsgmigd.transfer.replay import Replay
from dsgmigd.transfer.reports import ChangeListener
from dsgmigd.transfer.rsync import Rsync


class CopyProgress(Protocol):
    """Counts the work, and can stop it."""

    bytes_written: int

    def checkpoint(self) -> None:
        """Count a piece of work; may raise to stop."""


@dataclass(frozen=True)
class OpenStep:
    """One step: `staging` is equal to `parent`, and must become equal to `held`.

    `source` is the open directory of `held`, `root` the path of `staging`. The caller closes both
    directories; while `staging` is open, its dataset cannot be unmounted.
    """

    held: HeldSnapshot
    parent: HeldSnapshot | None
    source: Directories
    staging: Directories
    root: str


@dataclass(frozen=True)
class Transfer:
    """How a step was taken: the protocol of the stream, or None for rsync.

    `not_carried` counts what the stream says of a file and no target gets.
    """

    protocol: SendProtocol | None = None
    not_carried: Counter[str] = field(default_factory=Counter)


class ContentWriter:
    """Writes the contents of one snapshot after the other into staging."""

    def __init__(
        self,
        commands: Commands,
        capabilities: Capabilities,
        *,
        allowed: tuple[Loss, ...],
        send_protocol: SendProtocol | None,
        progress: CopyProgress,
    ) -> None:
        self._streams = SendStreams(commands, send_protocol)
        # rsync fails where it cannot set a time.
        self._sets_times = "mtime_range" in allowed and capabilities.has_time_limits
        self._rsync = Rsync(
            commands, capabilities, progress.checkpoint, sets_times=not self._sets_times
        )
        self._capabilities = capabilities
        self._allowed = allowed
        self._progress = progress
        self._nested: frozenset[bytes] = frozenset()

    def close(self) -> None:
        """Kill a stream that was prefetched and not used."""
        self._streams.close()

    def prefetch(self, held: HeldSnapshot, parent: HeldSnapshot) -> None:
        """Start the stream of the next snapshot ahead of its step."""
        self._streams.prefetch(held, parent)

    def set_nested(self, nested: Iterable[str]) -> None:
        """Set the paths in staging of the empty directories that stand for nested subvolumes."""
        self._nested = frozenset(os.fsencode(path) for path in nested)

    def write(
        self, step: OpenStep, listener: ChangeListener, nested: frozenset[bytes], *, is_sent: bool
    ) -> Transfer:
        """Take one step, by replay if `is_sent`; only a replay reports to the `listener`.

        `nested` are paths that may have become nested subvolumes since the parent snapshot.
        """
        try:
            if is_sent:
                return self._replay(step, listener, nested)
            return self._mirror(step)
        except CommandFailed:
            since = step.held.changed_since(step.parent) or 0
            raise_unreadable(step.held, since, self._progress.checkpoint)
            raise

    def _mirror(self, step: OpenStep) -> Transfer:
        remove_misfits(step.source, step.staging, self._progress.checkpoint)
        self._rsync.mirror(step.held.path, step.root)
        self._finish_rsync(step, [b""])
        return Transfer()

    def _finish_rsync(self, step: OpenStep, paths: Collection[bytes]) -> None:
        step.staging.forget_all()  # rsync may have replaced directories that are open there
        if self._sets_times:
            set_held_times(
                *(step.source, step.staging, paths),
                held_mtime_ns=self._capabilities.held_mtime_ns,
                checkpoint=self._progress.checkpoint,
            )

    def _replay(
        self, step: OpenStep, listener: ChangeListener, nested: frozenset[bytes]
    ) -> Transfer:
        replay = self._apply_stream(step, listener)
        replay.remove_orphans(step.source)
        # A deferred path may have been removed since, or be something else now.
        deferred, self._nested = separate_nested(step.source, replay.deferred | nested)
        paths = deferred | find_migrated_names(step.source, deferred, replay.changed_absent)
        if paths:
            self._rsync.copy_paths(paths, step.held.path, step.root)
            self._finish_rsync(step, paths)
            for path in sorted(paths):
                listener.appeared(path)
        make_empty_directories(
            self._nested, step.source, step.staging, self._capabilities.held_mtime_ns
        )
        return Transfer(self._streams.protocol, replay.not_carried)

    def _apply_stream(self, step: OpenStep, listener: ChangeListener) -> Replay:
        progress = self._progress
        before = progress.bytes_written

        def checkpoint() -> None:
            progress.bytes_written = before + replay.bytes_written
            progress.checkpoint()

        with (
            self._streams.start(step.held, step.parent) as stream,
            contextlib.ExitStack() as opened,
        ):
            replay = Replay(
                step.staging,
                listener,
                parent=opened.enter_context(step.parent.open()) if step.parent else None,
                source=step.source,
                capabilities=self._capabilities,
                allowed=self._allowed,
                nested=self._nested if step.parent else (),
            )
            replay.apply(commands_in(stream), checkpoint=checkpoint)
        checkpoint()
        return replay
