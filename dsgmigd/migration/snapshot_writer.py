"""Write one snapshot into staging: its contents, then DSG's metadata.

Guarantees: every directory of source and staging that was opened is closed when a call returns.

Raises: the errors of `transfer.contents` and of the room dsg; TargetChanged.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.metadata import (
    Metadata,
    Previous,
    make_metadata,
    render_manifest,
    split_manifest,
)
from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.dsg.scope import Scope
from dsgmigd.dsg.tags import TagLink, make_tags
from dsgmigd.errors import TargetChanged
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_errors, target_errors
from dsgmigd.migration.progress import Progress
from dsgmigd.names import SnapshotName
from dsgmigd.request import Loss
from dsgmigd.source.btrfs_send import SendProtocol
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.contents import ContentWriter, OpenStep, Transfer


@dataclass(frozen=True)
class Written:
    """What one step wrote."""

    metadata: dict[str, Any]
    bytes_written: int
    files_hashed: int
    refused: list[str]
    metadata_seconds: float
    scope: Scope
    transfer: Transfer


class SnapshotWriter:
    """Brings the staging directory `root` from snapshot to snapshot."""

    def __init__(
        self,
        root: str,
        *,
        commands: Commands,
        capabilities: Capabilities,
        allowed: tuple[Loss, ...],
        send_protocol: SendProtocol | None,
        progress: Progress,
    ) -> None:
        self._root = root
        self._capabilities = capabilities
        self._progress = progress
        self._contents = ContentWriter(
            commands,
            capabilities,
            allowed=allowed,
            send_protocol=send_protocol,
            progress=progress,
        )
        self._dsg = DsgDirectory(root)
        self._manifest = Manifest()
        self._messages: list[Metadata] = []
        self._last_scope: tuple[SnapshotName, Scope] | None = None

    def close(self) -> None:
        """Kill a stream that was prefetched and not used."""
        self._contents.close()

    def prefetch(self, held: HeldSnapshot, parent: HeldSnapshot) -> None:
        """Start the send stream of the next snapshot, while this one is being verified."""
        self._contents.prefetch(held, parent)

    def set_nested(self, nested: Iterable[str]) -> None:
        """Set the paths in staging of the empty directories that stand for nested subvolumes."""
        self._contents.set_nested(nested)

    def load(self) -> None:
        """Read the metadata that the last snapshot left in staging."""
        try:
            self._manifest.load(split_manifest(self._dsg.read_manifest()))
        except (ValueError, KeyError, AttributeError) as error:
            raise TargetChanged(
                f"{self._root}/.dsg/last-sync.json is not what dsgmigd wrote: {error}",
                hint="restore it from the last snapshot of the dataset",
            ) from error
        self._messages = self._dsg.read_messages()

    def set_linked(self, linked: Mapping[str, int]) -> None:
        """Set which files in staging have several names: inode numbers by path."""
        for path, inode in linked.items():
            self._manifest.load_link(os.fsencode(path), inode)

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

        `nested` are paths that may have become nested subvolumes since `parent`. `tags` are
        written if they are given; otherwise the tags of `parent` stay.
        """
        with held.open() as source, self._open_staging() as staging:
            step = OpenStep(held, parent, source, staging, self._root)
            return self._take_step(step, push, nested, tags, is_sent=is_sent)

    def _open_staging(self) -> Directories:
        with target_errors(f"opening {self._root}"):
            return Directories(self._root)

    def _take_step(
        self,
        step: OpenStep,
        push: Push,
        nested: frozenset[bytes],
        tags: Sequence[TagLink] | None,
        *,
        is_sent: bool,
    ) -> Written:
        bytes_before = self._progress.bytes_written
        scope, transfer = self._write_contents(step, nested, is_sent=is_sent)
        self._progress.enter("manifest")
        began = time.monotonic()
        refresher = self._refresh(step, push.user, scope)
        metadata = self._write_metadata(step.held.name, push)
        if tags is not None:
            self._dsg.write_tags(make_tags(tags, self._messages, self._dsg.read_tags()))
        _set_root_times(step, self._capabilities)
        self._last_scope = step.held.name, scope
        return Written(
            metadata,
            bytes_written=self._progress.bytes_written - bytes_before,
            files_hashed=refresher.files_hashed,
            refused=refresher.refused,
            scope=scope,
            transfer=transfer,
            metadata_seconds=time.monotonic() - began,
        )

    def _write_contents(
        self, step: OpenStep, nested: frozenset[bytes], *, is_sent: bool
    ) -> tuple[Scope, Transfer]:
        """Write the contents and note their changes in the manifest."""
        with source_errors(f"reading the scope of {step.held.name}"):
            scope = read_scope(step.held.path)
            has_other_scope = step.parent is not None and self._scope_of(step.parent) != scope
        before = self._manifest
        # With another scope, every entry is read again: what the replay reports is not needed.
        listener = Manifest() if has_other_scope else before
        transfer = self._contents.write(step, listener, nested, is_sent=is_sent)
        if has_other_scope or not is_sent:
            self._manifest = _reread_all(before, self._root)
        return scope, transfer

    def _scope_of(self, parent: HeldSnapshot) -> Scope:
        if self._last_scope is not None and self._last_scope[0] == parent.name:
            return self._last_scope[1]
        return read_scope(parent.path)

    def _refresh(self, step: OpenStep, user: str, scope: Scope) -> Refresher:
        """Bring the manifest up to date; return the refresher, with what it counted."""
        refresher = Refresher(
            self._manifest,
            staging=step.staging,
            source=step.source,
            user=user,
            checkpoint=self._progress.checkpoint,
            scope=scope,
            held_mtime_ns=self._capabilities.held_mtime_ns,
        )
        refresher.settle_all()
        return refresher

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


def _set_root_times(step: OpenStep, capabilities: Capabilities) -> None:
    """Set the times of the root to those in the source: writing `.dsg` changed them."""
    with source_errors("reading the times of the root"):
        status = step.source.lstat(b"")
    with target_errors("setting the times of the root"):
        held = capabilities.held_mtime_ns
        times = (held(status.st_atime_ns), held(status.st_mtime_ns))
        os.utime(".", ns=times, dir_fd=step.staging.root)


def _reread_all(before: Manifest, root: str) -> Manifest:
    """Return a manifest in which every file below `root` must be read again.

    It knows only who pushed each entry. rsync does not report what it changed, and another scope
    includes files that did not change.
    """
    manifest = Manifest()
    manifest.remember_entries(before)
    with target_errors(f"listing {root}"):
        names = os.listdir(os.fsencode(root))
    for name in names:
        if name != DSG_DIRECTORY and not is_excluded_name(name):
            manifest.appeared(name)
    return manifest
