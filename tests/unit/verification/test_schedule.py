"""Which snapshots are walked whole, and from which moments on the proofs hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from dsgmigd.errors import SourceUnreadable
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.verification import schedule
from dsgmigd.verification.findings import Verification
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
        held = Source(
            *(SnapshotName(number), f"s{number}", "uuid", 1, float(number)),
            is_sendable=True,
            is_pinned=True,
        )
        self.checker.check(held, "zsd/SV", number + 0.5, is_last=is_last)

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
