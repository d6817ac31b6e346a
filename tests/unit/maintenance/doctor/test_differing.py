"""Published snapshots that are marked as different, as doctor lists them."""

from pathlib import Path

import pytest

from dsgmigd.maintenance.doctor.differing import DifferingPlace
from dsgmigd.names import parse_dataset_name
from tests.unit.fake_zfs import FakeZfs

MARK = "org.hrdag.dsgmigd:differs"
FOUND = f"{MARK}=3 complete source 2026-11-30T10:00:00Z r1"


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    return FakeZfs(tmp_path)


@pytest.fixture
def place(commands: FakeZfs) -> DifferingPlace:
    for name in ("zsd/SV", "zsd/CO", "zsd/.dsgmigd", "zsd/.dsgmigd/replaced", "zsd/SV/child"):
        commands.output("zfs", "create", name)
    commands.output("zfs", "create", "zsd/.dsgmigd/replaced/SV-20260101T000000Z")
    return DifferingPlace(commands, parse_dataset_name("zsd"))


def mark(commands: FakeZfs, name: str, text: str = FOUND) -> None:
    commands.output("zfs", "snapshot", "-o", text, name)


def test_what_differs_is_listed_with_the_way_out(commands: FakeZfs, place: DifferingPlace) -> None:
    mark(commands, "zsd/SV@s2")
    (found,) = place.unowned()
    assert (found.kind, found.where, found.repo, found.treatment) == (
        *("differs", "zsd/SV@s2", "SV"),
        "look",
    )
    assert found.why == (
        "has 3 differences to its source, found at 2026-11-30T10:00:00Z: "
        "`dsgmigd rebuild SV --from s2` builds it again"
    )
    assert found.request_id == "r1"


@pytest.mark.parametrize(
    "name",
    ["zsd/SV@daily", "zsd/SV/child@s1", "zsd/.dsgmigd/replaced/SV-20260101T000000Z@s1", "zsd@s1"],
)
def test_what_is_no_published_snapshot_is_not_listed(
    commands: FakeZfs, place: DifferingPlace, name: str
) -> None:
    mark(commands, name)
    assert place.unowned() == []


def test_what_was_refuted_is_not_listed(commands: FakeZfs, place: DifferingPlace) -> None:
    mark(commands, "zsd/SV@s2", f"{MARK}=none")
    commands.output("zfs", "snapshot", "zsd/CO@s1")
    assert place.unowned() == []


def test_no_repository_has_to_be_locked(place: DifferingPlace) -> None:
    assert place.repositories() == set()
