"""Check target snapshots against source snapshots in order, each as its level requires.

With the level `changes`, both trees are walked for the first, every tenth and the last snapshot,
and for each snapshot whose changes the source's file system does not know. For the others, only the
changed paths are compared. The source's own file system is asked what changed: evidence that does
not come from the send stream.

Raises: the errors of `target.staging` and of `verifier`; SourceUnreadable.
"""

import stat
from collections.abc import Callable, Mapping

from dsgmigd.dsg.push_line import Push
from dsgmigd.host.file_errors import source_error
from dsgmigd.request import VerifyLevel
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.tree_search import Inode, Nested, Search
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.staging import Staging
from dsgmigd.verification.contents import reading_threads
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.kept_proofs import Pair, ProofFile, Proven
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Changed, Verifier

_FULL_WALK_EVERY = 10

TakeEvidence = Callable[[str, Changed | None, Mapping[bytes, str]], None]
"""Called with the directory in which a snapshot can be read, with what changed in it since the one
that was checked before, None if everything has to be looked at, and with the SHA-256 of files that
were read."""


class SnapshotChecker:
    """Checks the snapshots of one repository; snapshot k-1 is checked or created before k."""

    def __init__(
        self,
        verifier: Verifier,
        staging: Staging,
        level: VerifyLevel,
        kept_proofs: ProofFile | None = None,
    ) -> None:
        self.level = level
        self._verifier = verifier
        self._staging = staging
        self._kept_proofs = kept_proofs
        self._before: HeldSnapshot | None = None
        self._since_full_walk = 0
        # When the sides could have become different since the last full walk.
        self._source_moments: tuple[float, ...] = ()
        self._target_moment: float | None = None

    def check(
        self,
        held: HeldSnapshot,
        dataset: str,
        target_moment: float,
        *,
        is_last: bool,
        is_verified_before: bool = False,
        push: Push | None = None,
        snapshot_hash: str | None = None,
        take_evidence: TakeEvidence | None = None,
    ) -> Verification:
        """Compare `dataset`@sK, created at `target_moment` or later, with `held` in the source.

        `target_moment` is in seconds since the epoch. `snapshot_hash` is a property of the target's
        snapshot. `take_evidence` is called if they are equal.
        """
        moments = self._moments(held)
        sha256s: dict[bytes, str] = {}
        # Ask the source for its changes while ZFS mounts the target's snapshot.
        with reading_threads(1) as beside:
            finding = None if is_last else beside.submit(self._changed, held)
            with self._staging.view(dataset, held.name) as view:
                changed = finding.result() if finding else None
                found = self._verifier.verify(
                    *(held.path, view, held.name.number, moments),
                    changed=changed,
                    is_verified_before=is_verified_before,
                    push=push,
                    snapshot_hash=snapshot_hash,
                    sha256s=None if take_evidence is None else sha256s,
                )
                if take_evidence is not None and not found.discrepancy_count:
                    known = None if is_last else changed or self._changes_since_last(held)
                    take_evidence(view, known, sha256s)
        self._before = held
        self._since_full_walk += 1
        if changed is None:
            self._note_full_walk(held, target_moment)
        return found

    def _moments(self, held: HeldSnapshot) -> Moments:
        """Note when `held` was made; return all moments since the last full walk."""
        self._source_moments += (held.created_at,)
        return Moments(source=self._source_moments, target=self._target_moment)

    def go_on_after(
        self, held: HeldSnapshot, dataset: str, made: Snapshot, *, is_verified_before: bool
    ) -> Verification:
        """Check `dataset`@sK, which an earlier run made of `held`, for the check of the next one.

        If an earlier run proved that they are equal and its proofs were kept, only the documents in
        `.dsg/` are checked.
        """
        kept = self._read_proofs(held, made) if is_verified_before else None
        if kept is None:
            return self.check(
                *(held, dataset, float(made.created_at)),
                is_last=True,
                is_verified_before=is_verified_before,
            )
        moments = Moments(source=(held.created_at,))
        with self._staging.view(dataset, held.name) as view:
            found = self._verifier.go_on(view, held.name.number, moments, kept)
        self._before = held
        self._note_full_walk(held, kept.target_moment)
        return found

    def linked(self) -> dict[str, int]:
        """Return the inode numbers in the target of files with several names, by their paths.

        The last check must have compared everything.
        """
        return self._verifier.linked()

    def keep(self, held: HeldSnapshot, target_guid: str, found: Verification) -> None:
        """Keep what the last check proved, which ended with `found`; raises OSError.

        Of a source that is no subvolume, nothing says later that nobody changed it.
        """
        is_proven = found.is_full_walk and not found.discrepancy_count
        if self._kept_proofs is None or held.subvolume is None or not is_proven:
            return
        if self._target_moment is not None:
            proven = self._verifier.proven(found, self._target_moment)
            self._kept_proofs.write(_pair(held, target_guid), proven)

    def _read_proofs(self, held: HeldSnapshot, made: Snapshot) -> Proven | None:
        if self._kept_proofs is None or held.subvolume is None:
            return None
        kept = self._kept_proofs.read(_pair(held, made.guid))
        return kept if kept and self._verifier.can_go_on_from(kept) else None

    def _note_full_walk(self, held: HeldSnapshot, target_moment: float) -> None:
        self._since_full_walk = 0
        self._source_moments = (held.created_at,)
        self._target_moment = target_moment

    def _changed(self, held: HeldSnapshot) -> Changed | None:
        """Return what must be compared; None for everything."""
        if self.level != "changes" or self._since_full_walk + 1 >= _FULL_WALK_EVERY:
            return None
        return self._changes_since_last(held)

    def _changes_since_last(self, held: HeldSnapshot) -> Changed | None:
        """Return what the source's file system says, if it knows."""
        since = held.changed_since(self._before)
        if since is None:
            return None
        try:
            return find_changes(held.path, since)
        except OSError as error:
            raise source_error(error, f"finding what changed in {held.name}") from error


def _pair(held: HeldSnapshot, target_guid: str) -> Pair:
    return Pair(held.identity, held.version, target_guid)


def find_changes(path: str, since: int) -> Changed:
    """Return what was written in the btrfs snapshot at `path` in transaction `since` or later.

    A removed name is a change of its directory, so the names in each changed directory are compared
    too. Raises OSError.
    """
    changed = Changed()
    with Search(path) as search:
        for item in search.changes(since):
            if isinstance(item, Inode):
                paths = search.paths_of(item.number)
                changed.paths.update(paths)
                if stat.S_ISDIR(item.mode):
                    changed.directories.update(paths)
            elif isinstance(item, Nested):
                changed.paths.add(search.path_in(item.directory, item.name))
    return changed
