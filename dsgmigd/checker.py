"""Check target snapshots against source snapshots in their order, each as its level asks for.

With the level `changes` both trees are walked at the first, every tenth and the last snapshot, and
wherever the source cannot tell what changed. In between only that is looked at.

Leaving errors: those of dsgmigd.staging, dsgmigd.verify and dsgmigd.btrfs.search.
"""

from dsgmigd.dsg.pushlog import Push
from dsgmigd.file_errors import source_error
from dsgmigd.request import VerifyLevel
from dsgmigd.source import HeldSnapshot
from dsgmigd.staging import Staging
from dsgmigd.verify.changes import find_changes
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.readers import reading_threads
from dsgmigd.verify.verifier import Changed, Verifier

_FULL_WALK_EVERY = 10


class SnapshotChecker:
    """Checks the snapshots of one repository; snapshot k-1 is checked, or made, before k."""

    def __init__(self, verifier: Verifier, staging: Staging, level: VerifyLevel) -> None:
        self._verifier = verifier
        self._staging = staging
        self._level = level
        self._before: HeldSnapshot | None = None
        self._since_full_walk = 0
        # When the sides could have parted since the last full walk.
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
    ) -> Verification:
        """Compare `dataset`@sK, made not before `target_moment`, with the source's `held`."""
        self._source_moments += (held.created_at,)
        moments = Moments(source=self._source_moments, target=self._target_moment)
        # Each side's file system does its work while the other does.
        with reading_threads(1) as beside:
            finding = None if is_last else beside.submit(self._changed, held)
            with self._staging.view(dataset, held.name) as view:
                changed = finding.result() if finding else None
                found = self._verifier.verify(
                    *(held.path, view, held.name.number, moments),
                    changed=changed,
                    is_verified_before=is_verified_before,
                    push=push,
                )
        self._before = held
        self._since_full_walk += 1
        if changed is None:
            self._since_full_walk = 0
            self._source_moments = (held.created_at,)
            self._target_moment = target_moment
        return found

    def _changed(self, held: HeldSnapshot) -> Changed | None:
        """Return what has to be looked at; None for everything."""
        if self._level != "changes" or self._since_full_walk + 1 >= _FULL_WALK_EVERY:
            return None
        since = held.changed_since(self._before)
        if since is None:
            return None
        try:
            return find_changes(held.path, since)
        except OSError as error:
            raise source_error(error, f"finding what changed in {held.name}") from error
