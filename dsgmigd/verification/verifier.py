"""Compare the snapshots of one repository with the source, as each level requires.

`complete` walks both trees of every snapshot and reads each content once. `changes` does so for the
first, every tenth and the last snapshot; for the others it compares the paths that the source's
file system reports as changed. `exhaustive` reads everything in every snapshot. `structure` reads
no contents. The target is a view of the ZFS snapshot, never the live staging directory.

Raises: the errors of `source_error` and `target_error`, HostExhausted, and whatever the checkpoint
raises. Differences are data, not errors.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.dsg.scope import CONFIG_NAME, EVERYTHING
from dsgmigd.exclusion import is_excluded
from dsgmigd.host.file_errors import source_error, target_error, target_errors
from dsgmigd.request import VerifyLevel
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.contents import reading_threads
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.kept_proofs import Proven
from dsgmigd.verification.metadata.archives import Archives
from dsgmigd.verification.metadata.documents import (
    Documents,
    ManifestView,
    compare_push,
    compare_stamp,
)
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.side import Side, Translate
from dsgmigd.verification.walk import Reading, Walk
from dsgmigd.verification.walk_context import WalkContext
from dsgmigd.verification.walk_proofs import WalkProofs

Note = Callable[[str, list[Discrepancy]], None]


@dataclass
class Changed:
    """What may differ from the snapshot before; paths are relative to the root, b"" is the root.

    Every path in `paths` is compared, and so are the names in each of the `directories`.
    """

    paths: set[bytes] = field(default_factory=set)
    directories: set[bytes] = field(default_factory=set)


class Verifier:
    """Checks the snapshots of one repository in order, and remembers what is proven.

    `note` is called with the discrepancies of every snapshot, and with its name.
    """

    def __init__(
        self,
        *,
        level: VerifyLevel,
        capabilities: Capabilities,
        hash_threads: int,
        checkpoint: Callable[[], None] = lambda: None,
        note: Note = lambda _, __: None,
    ) -> None:
        self._level = level
        self._capabilities = capabilities
        self._hash_threads = hash_threads
        self._checkpoint = checkpoint
        self._note = note
        self._proofs = WalkProofs()
        self._archives = Archives(reads_all=level == "exhaustive", checkpoint=checkpoint)
        self._documents = Documents(checkpoint=checkpoint)
        self._scope = EVERYTHING

    def verify(
        self,
        source_root: str,
        target_root: str,
        number: int,
        moments: Moments,
        *,
        changed: Changed | None = None,
        is_verified_before: bool = False,
        push: Push | None = None,
        snapshot_hash: str | None = None,
        sha256s: dict[bytes, str] | None = None,
    ) -> Verification:
        """Compare snapshot s`number` on both sides; with `changed`, only those paths.

        `push` is what the push log says about the snapshot, if the metadata must be compared with
        it, and `snapshot_hash` what ZFS has as a property. With `is_verified_before`, contents are
        not read: an earlier run verified the snapshot, and this walk only collects the proofs for
        the next one. `sha256s` gets the SHA-256 of the
        files that are read: see `Side`.
        """
        if self._update_scope(target_root, number):
            changed = None
        result = Verification(
            self._level, is_full_walk=changed is None, note=partial(self._note, f"s{number}")
        )
        view = self._check_documents(
            target_root, number, moments, result, push=push, is_verified_before=is_verified_before
        )
        result.add(compare_stamp(view, snapshot_hash))
        context = WalkContext(result, view, self._scope, moments, self._checkpoint)
        with (
            self._side(source_root, source_error) as source,
            self._side(target_root, target_error, sha256s) as target,
            reading_threads(self._hash_threads) as pool,
        ):
            reading = self._reading(pool, is_verified_before=is_verified_before)
            self._walk(source, target, context, reading, changed)
        return result

    def _walk(
        self,
        source: Side,
        target: Side,
        context: WalkContext,
        reading: Reading,
        changed: Changed | None,
    ) -> None:
        walk = Walk(
            *(source, target, context),
            proofs=self._proofs_for(changed),
            capabilities=self._capabilities,
            reading=reading,
        )
        _run(walk, changed)

    def go_on(self, target_root: str, number: int, moments: Moments, kept: Proven) -> Verification:
        """Take what an earlier run proved of snapshot s`number`; check only its documents."""
        self._update_scope(target_root, number)
        result = Verification(self._level, note=partial(self._note, f"s{number}"))
        result.nested_subvolumes += kept.nested
        self._check_documents(
            *(target_root, number, moments, result),
            push=None,
            is_verified_before=True,
            right=kept.manifest,
        )
        self._proofs = kept.proofs
        return result

    def linked(self) -> dict[str, int]:
        """Return the files with several names that the last full walk met: see `WalkProofs`."""
        return self._proofs.linked

    def can_go_on_from(self, kept: Proven) -> bool:
        """Say whether a walk by this verifier would find nothing that `kept` does not say."""
        return kept.is_enough_for(self._level, self._capabilities)

    def proven(self, found: Verification, target_moment: float) -> Proven:
        """Return what the full walk proved that ended with `found`: see `kept_proofs`."""
        return Proven(
            self._level,
            self._capabilities,
            target_moment,
            manifest=self._documents.digest,
            nested=found.nested_subvolumes,
            proofs=self._proofs,
        )

    def _update_scope(self, target_root: str, number: int) -> bool:
        """Read the scope of a snapshot; if it changed, forget all proofs and return True.

        A file that was rightly listed may no longer be listed, and the reverse.
        """
        with target_errors(f"reading {CONFIG_NAME} of s{number}"):
            scope = read_scope(target_root)
        if scope == self._scope:
            return False
        self._scope, self._proofs = scope, WalkProofs()
        return True

    def _check_documents(
        self,
        target_root: str,
        number: int,
        moments: Moments,
        result: Verification,
        *,
        push: Push | None,
        is_verified_before: bool,
        right: bytes | None = None,
    ) -> ManifestView:
        """Check everything in `.dsg/`; return what the manifest says.

        `right` is the digest of a manifest that an earlier run found right.
        """
        with target_errors(f"reading .dsg of s{number}"):
            view = self._documents.read(target_root, number, right=right)
            result.add(view.discrepancies)
            result.add(
                self._archives.check(
                    *(target_root, number, view, moments),
                    is_newest_right=not view.discrepancies,
                    reads_none=is_verified_before,
                )
            )
        if push is not None and view.metadata:
            result.is_push_checked = True
            result.add(compare_push(push, view.metadata))
        return view

    def _proofs_for(self, changed: Changed | None) -> WalkProofs:
        """Return the proofs for the next walk, which looks only at what `changed`, or at all.

        Comparing some paths proves nothing for the next full walk.
        """
        if changed is not None:
            return WalkProofs()
        self._proofs.begin_snapshot()
        return self._proofs

    def _side(
        self, root: str, translate: Translate, sha256s: dict[bytes, str] | None = None
    ) -> Side:
        return Side(
            *(root, translate),
            reads_holes=self._level == "exhaustive",
            checkpoint=self._checkpoint,
            sha256s=sha256s,
        )

    def _reading(self, pool: ThreadPoolExecutor, *, is_verified_before: bool) -> Reading:
        reads_none = self._level == "structure" or is_verified_before
        return Reading(pool, all=self._level == "exhaustive", none=reads_none)


def _run(walk: Walk, changed: Changed | None) -> None:
    if changed is None:
        walk.compare_all()
        return
    names: dict[str, set[str]] = {}
    for path in changed.paths:
        if path and not is_excluded(path):
            parent, _, name = os.fsdecode(path).rpartition("/")
            names.setdefault(parent, set()).add(name)
    directories = [path for path in changed.directories if not is_excluded(path)]
    walk.compare_some(names, [os.fsdecode(path) for path in directories])
