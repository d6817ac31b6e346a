"""The verifier of one repository's snapshots: what each level looks at, and what is remembered.

`complete` walks both trees of every snapshot and reads each content once; `changes` does so at the
first, every tenth and the last snapshot, and in between looks at what the source's own file system
calls changed; `exhaustive` reads everything every time; `structure` reads no contents. The target
is a view of the ZFS snapshot, never the live staging directory.

Leaving errors: SourceUnreadable, TargetUnwritable and its kin, HostExhausted, whatever the
checkpoint raises.
Differences are data, not errors.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from dsgmigd.abilities import Abilities
from dsgmigd.dsg.pushlog import Push
from dsgmigd.dsg.scope import CONFIG_NAME, EVERYTHING
from dsgmigd.exclusion import is_excluded
from dsgmigd.file_errors import source_error, target_error, target_errors
from dsgmigd.read_scope import read_scope
from dsgmigd.request import VerifyLevel
from dsgmigd.verify.archives import Archives
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.metadata import Documents, compare_push
from dsgmigd.verify.proof import Moments, Proofs
from dsgmigd.verify.readers import reading_threads
from dsgmigd.verify.side import Side, Translate
from dsgmigd.verify.walk import Reading, Walk

Note = Callable[[str, list[Discrepancy]], None]


@dataclass
class Changed:
    """What may differ from the snapshot before; paths are relative to the root, b"" is the root.

    Of each path in `paths` everything is compared, of each in `directories` the names in it too.
    """

    paths: set[bytes] = field(default_factory=set)
    directories: set[bytes] = field(default_factory=set)


class Verifier:
    """Checks the snapshots of one repository in their order, remembering what is proven."""

    def __init__(
        self,
        *,
        level: VerifyLevel,
        abilities: Abilities,
        hash_threads: int = 2,
        checkpoint: Callable[[], None] = lambda: None,
        note: Note = lambda _, __: None,
    ) -> None:
        self._level = level
        self._abilities = abilities
        self._hash_threads = hash_threads
        self._checkpoint = checkpoint
        self._note = note
        self._proofs = Proofs()
        self._archives = Archives(reads_all=level == "exhaustive")
        self._documents = Documents()
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
    ) -> Verification:
        """Compare snapshot s`number` on both sides; with `changed`, only that.

        `push` is what the push log says of it, if that is to be compared with the metadata.
        With `is_verified_before` no contents are read: the snapshot carries the mark of an earlier
        run, and this walk only renews what later proofs build on.
        """
        with target_errors(f"reading {CONFIG_NAME} of s{number}"):
            scope = read_scope(target_root)
        if scope != self._scope:  # what was listed with right may be so no more, and the reverse
            self._scope, self._proofs, changed = scope, Proofs(), None
        result = Verification(
            self._level, is_full_walk=changed is None, note=partial(self._note, f"s{number}")
        )
        with target_errors(f"reading .dsg of s{number}"):
            view = self._documents.read(target_root, number)
            result.add(view.discrepancies)
            result.add(
                self._archives.check(
                    *(target_root, number, moments),
                    is_newest_right=not view.discrepancies,
                    reads_none=is_verified_before,
                )
            )
        if push is not None and view.metadata:
            result.is_push_checked = True
            result.add(compare_push(push, view.metadata))
        proofs = Proofs()  # a look at some paths proves nothing for the next full walk
        if changed is None:
            proofs = self._proofs
            proofs.begin_snapshot()
        with (
            self._side(source_root, source_error) as source,
            self._side(target_root, target_error) as target,
            reading_threads(self._hash_threads) as pool,
        ):
            walk = Walk(
                source,
                target,
                result=result,
                view=view,
                proofs=proofs,
                moments=moments,
                abilities=self._abilities,
                reading=self._reading(pool, is_verified_before=is_verified_before),
                scope=self._scope,
                checkpoint=self._checkpoint,
            )
            _run(walk, changed)
        return result

    def _side(self, root: str, translate: Translate) -> Side:
        return Side(root, translate, reads_holes=self._level == "exhaustive")

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
