"""Which snapshots are walked whole, and from which moments on the proofs hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dsgmigd.errors import SourceUnreadable
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.dataset import Snapshot
from dsgmigd.verification import schedule
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.kept_proofs import Pair
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.schedule import SnapshotChecker
from dsgmigd.verification.verifier import Changed


class Source(HeldSnapshot):
    """A snapshot of which btrfs knows what changed, unless it is `unrelated`."""

    unrelated: frozenset[int] = frozenset()

    def changed_since(self, before: HeldSnapshot | None) -> int | None:
        if before is None or self.name.number in self.unrelated:
            return None
        return before.name.number


def source(number: int, subvolume: object = None) -> Source:
    return Source(
        *(SnapshotName(number), f"s{number}", "uuid", 1, float(number)),
        is_sendable=True,
        is_pinned=True,
        subvolume=cast("Any", subvolume),
    )


class Checks:
    """A checker whose verifier notes what it is asked for."""

    def __init__(self, level: VerifyLevel) -> None:
        self.asked: list[tuple[int, Changed | None, Moments]] = []
        self.checker = SnapshotChecker(cast("Any", self), cast("Any", self), level)

    @contextmanager
    def view(self, dataset: str, name: SnapshotName) -> Iterator[str]:
        yield f"/view/{dataset}@{name}"

    def verify(
        self, _source: str, target: str, number: int, moments: Moments, **options: Any
    ) -> Verification:
        assert target == f"/view/zsd/SV@s{number}"
        self.asked.append((number, options["changed"], moments))
        return Verification("changes")

    def check(self, number: int, *, is_last: bool = False) -> None:
        self.checker.check(source(number), "zsd/SV", number + 0.5, is_last=is_last)

    def walked_whole(self) -> list[int]:
        return [number for number, changed, _ in self.asked if changed is None]


@pytest.fixture(autouse=True)
def _changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_path: str, since: int) -> Changed:
        return Changed(paths={b"since %d" % since})

    monkeypatch.setattr(schedule, "find_changes", find)


def test_the_level_changes_walks_the_first_every_tenth_and_the_last_snapshot() -> None:
    checks = Checks("changes")
    for number in range(1, 14):
        checks.check(number, is_last=number == 13)
    assert checks.walked_whole() == [1, 11, 13]
    assert checks.asked[4][1] == Changed(paths={b"since 4"})


def test_every_other_level_walks_every_snapshot() -> None:
    checks = Checks("complete")
    for number in (1, 2, 3):
        checks.check(number)
    assert checks.walked_whole() == [1, 2, 3]


def test_a_snapshot_whose_changes_are_unknown_is_walked_whole_and_begins_the_count_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Source, "unrelated", frozenset({3}))
    checks = Checks("changes")
    for number in range(1, 14):
        checks.check(number)
    assert checks.walked_whole() == [1, 3, 13]


def test_proofs_hold_only_for_what_was_unchanged_since_the_last_whole_walk() -> None:
    checks = Checks("changes")
    for number in (1, 2, 3):
        checks.check(number, is_last=number == 3)
    assert [moments for _, _, moments in checks.asked] == [
        Moments(source=(1.0,), target=None),
        Moments(source=(1.0, 2.0), target=1.5),
        Moments(source=(1.0, 2.0, 3.0), target=1.5),
    ]


def test_a_source_that_cannot_say_what_changed_is_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_path: str, _since: int) -> Changed:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(schedule, "find_changes", fail)
    checks = Checks("changes")
    checks.check(1)
    with pytest.raises(SourceUnreadable, match="finding what changed in s2"):
        checks.check(2)


@pytest.mark.parametrize("level", ["complete", "changes"])
def test_evidence_is_taken_of_what_changed_and_of_the_last_snapshot_as_a_whole(
    level: VerifyLevel,
) -> None:
    checks = Checks(level)
    taken: list[tuple[str, Changed | None]] = []
    for number in (1, 2, 3):
        checks.checker.check(
            *(source(number), "zsd/SV", number + 0.5),
            is_last=number == 3,
            take_evidence=lambda view, changed, _: taken.append((view, changed)),
        )
    assert taken == [
        ("/view/zsd/SV@s1", None),
        ("/view/zsd/SV@s2", Changed(paths={b"since 1"})),
        ("/view/zsd/SV@s3", None),
    ]


def test_no_evidence_is_taken_of_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks("complete")
    found = Verification("complete", discrepancy_count=1)
    monkeypatch.setattr(checks, "verify", lambda *_, **__: found)
    checks.checker.check(
        *(source(1), "zsd/SV", 1.5),
        is_last=True,
        take_evidence=lambda *_: pytest.fail("it is evidence of nothing"),
    )


# Proofs of an earlier run.


class Kept:
    """A file of proofs, and a verifier that takes them if they are strong enough."""

    def __init__(self, *, is_enough: bool = True) -> None:
        self.pairs: list[Pair] = []
        self.is_enough = is_enough

    def write(self, pair: Pair, _proven: object) -> None:
        self.pairs.append(pair)

    def read(self, pair: Pair) -> Any:
        return SimpleNamespace(target_moment=7.25) if pair in self.pairs else None


class Extension(Checks):
    """Checks of a run that goes on after s1."""

    def __init__(self, kept: Kept) -> None:
        super().__init__("complete")
        self.kept = kept
        self.gone_on: list[int] = []
        self.checker = SnapshotChecker(
            cast("Any", self), cast("Any", self), "complete", cast("Any", kept)
        )

    def can_go_on_from(self, _kept: object) -> bool:
        return self.kept.is_enough

    def proven(self, _found: Verification, target_moment: float) -> float:
        return target_moment

    def go_on(self, target: str, number: int, _moments: Moments, _kept: object) -> Verification:
        assert target == "/view/zsd/SV@s1"
        self.gone_on.append(number)
        return Verification("complete")

    def go_on_after(self, held: Source, *, is_verified_before: bool = True) -> None:
        made = Snapshot("s1", 1, {}, "guid")
        self.checker.go_on_after(held, "zsd/SV", made, is_verified_before=is_verified_before)


def kept_after(held: Source, found: Verification | None = None) -> Kept:
    """Return what a run keeps of s1 that compared it, and `found` this."""
    kept = Kept()
    first = Extension(kept)
    first.checker.check(held, "zsd/SV", 1.5, is_last=True)
    first.checker.keep(held, "guid", found or Verification("complete"))
    return kept


def test_the_next_check_builds_on_kept_proofs_from_the_moment_of_which_they_are() -> None:
    held = source(1, "a subvolume")
    later = Extension(kept_after(held))
    later.go_on_after(held)
    later.check(2)
    assert later.gone_on == [1]
    assert later.asked == [(2, None, Moments(source=(1.0, 2.0), target=7.25))]


@pytest.mark.parametrize(
    ("held", "is_enough", "is_verified_before"),
    [
        (source(1, "a subvolume"), True, False),
        (source(1, "a subvolume"), False, True),
        (source(1), True, True),
    ],
    ids=["not verified before", "too weak", "no subvolume"],
)
def test_without_proofs_that_are_enough_the_trees_are_walked(
    held: Source, *, is_enough: bool, is_verified_before: bool
) -> None:
    kept = kept_after(source(1, "a subvolume"))
    kept.is_enough = is_enough
    later = Extension(kept)
    later.go_on_after(held, is_verified_before=is_verified_before)
    assert (later.gone_on, later.walked_whole()) == ([], [1])


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (source(1), Verification("complete")),
        (source(1, "a subvolume"), Verification("changes", is_full_walk=False)),
        (source(1, "a subvolume"), Verification("complete", discrepancy_count=1)),
    ],
    ids=["no subvolume", "not all was walked", "differences"],
)
def test_what_is_not_proven_is_not_kept(held: Source, found: Verification) -> None:
    assert kept_after(held, found).pairs == []


def test_a_run_without_a_file_of_proofs_keeps_none() -> None:
    checks = Checks("complete")
    checks.check(1)
    checks.checker.keep(source(1, "a subvolume"), "guid", Verification("complete"))
