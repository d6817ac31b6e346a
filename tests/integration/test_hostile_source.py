"""Others who may write where the source is, and what they cannot make of it.

They are real users in processes of their own. What they plant is never followed, nothing of another
repository is deleted or published, and the result says what is wrong.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import bed
import pytest

from dsgmigd.source.pin_names import PINS_DIRECTORY
from tests.integration.conftest import Bed
from tests.integration.trees import Series, new_series, set_read_only, writing
from tests.integration.users import User, members_and_stranger, reachable

ID = str(uuid.UUID(int=7))


@pytest.fixture
def stranger(fresh_bed: Bed, state: Path) -> Iterator[User]:
    """A user who can reach the source root."""
    *_, user = members_and_stranger()
    with reachable(fresh_bed.source_root / "x", state.parent):
        yield user


@pytest.fixture
def victim(fresh_bed: Bed) -> Series:
    new_series(fresh_bed, "BAIT", writing(a="a"))
    return new_series(fresh_bed, "VICTIM", writing(v="1"), writing(v="2"))


def is_whole(victim: Series) -> bool:
    return [(victim.snapshot(n) / "v").read_text() for n in (1, 2)] == ["1", "2"]


def test_a_root_that_others_may_write_to_is_refused_and_their_links_are_not_followed(
    fresh_bed: Bed, victim: Series, stranger: User
) -> None:
    fresh_bed.source_root.chmod(0o777)
    area = fresh_bed.source_root / PINS_DIRECTORY

    def plant() -> None:
        area.mkdir()
        (area / "BAIT.old").symlink_to("../VICTIM")
        (area / f"BAIT.{ID}").symlink_to("../VICTIM")

    stranger.does(plant)
    result = fresh_bed.migrate("BAIT")
    assert is_whole(victim)
    assert result["error"]["code"] == "source_unsafe"
    assert f"{fresh_bed.source_root} is group- or world-writable" in result["error"]["message"]
    assert result["error"]["hint"] == f"remove the write bits: chmod go-w {fresh_bed.source_root}"
    assert fresh_bed.dsgmigd("doctor", "--fix", check=False).returncode == 3
    fresh_bed.source_root.chmod(0o755)

    result = fresh_bed.migrate("BAIT")  # what was planted stays
    assert is_whole(victim)
    assert result["error"]["code"] == "source_unsafe"
    assert f"{area} belongs to user {stranger.uid}" in result["error"]["message"]
    area.rename(fresh_bed.source_root / "moved away")
    assert fresh_bed.migrate("BAIT")["outcome"] == "done"


def test_a_root_of_another_user_is_refused(fresh_bed: Bed, victim: Series, stranger: User) -> None:
    os.chown(fresh_bed.source_root, stranger.uid, stranger.gid)
    result = fresh_bed.migrate("VICTIM")
    assert result["error"]["code"] == "source_unsafe"
    assert "who can replace what is in it" in result["error"]["message"]
    assert is_whole(victim)


def test_a_root_behind_a_link_of_root_is_a_root_like_another(
    fresh_bed: Bed, victim: Series
) -> None:
    link = fresh_bed.spool.parent / "link"
    link.symlink_to(fresh_bed.source_root)
    text = fresh_bed.config.read_text()
    fresh_bed.config.write_text(text.replace(str(fresh_bed.source_root), str(link)))
    result = fresh_bed.migrate("VICTIM")
    assert (result["outcome"], result["warnings"]) == ("done", [])
    assert is_whole(victim)


@pytest.mark.parametrize("place", ["", f"BAIT.{ID}"])
def test_a_link_in_place_of_pins_is_not_followed(
    fresh_bed: Bed, victim: Series, place: str
) -> None:
    """Not even one that root made."""
    link = fresh_bed.source_root / PINS_DIRECTORY / place
    if place:
        link.parent.mkdir()
    else:
        victim.directory.rename(victim.directory.with_name(f"BAIT.{ID}"))
        victim.directory = victim.directory.with_name(f"BAIT.{ID}")
    link.symlink_to(victim.directory if place else fresh_bed.source_root)
    result = fresh_bed.migrate("BAIT")
    assert is_whole(victim)
    if place:
        (warning,) = result["warnings"]
        assert f"{link}: " in warning
    else:
        assert result["error"]["code"] == "source_unsafe"


def test_only_the_snapshot_that_was_pinned_is_a_pin(fresh_bed: Bed, victim: Series) -> None:
    """Somebody keeps a read-only snapshot of something else where the pins are."""
    directory = fresh_bed.source_root / PINS_DIRECTORY / f"BAIT.{ID}"
    directory.mkdir(parents=True)
    kept = directory / f"s1.{uuid.UUID(int=3)}"
    bed.run("btrfs", "subvolume", "snapshot", "-r", victim.snapshot(1), kept)
    result = fresh_bed.migrate("BAIT")
    assert result["outcome"] == "done"
    (warning,) = result["warnings"]
    assert str(kept) in warning
    assert (kept / "v").read_text() == "1"
    assert fresh_bed.dsgmigd("doctor", "--fix", check=False).returncode == 3
    assert (kept / "v").read_text() == "1"


def test_an_owner_of_the_data_who_is_not_root_is_welcome(fresh_bed: Bed, stranger: User) -> None:
    """Only the root of all repositories must be safe: an owner may exchange what is his."""
    for name in ("SV", "SV-norm"):
        series = new_series(fresh_bed, name, writing(a="a"))
        set_read_only(series.snapshot(1), is_read_only=False)
        for path in (series.directory, series.snapshot(1)):
            os.chown(path, stranger.uid, stranger.gid)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
