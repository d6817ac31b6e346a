"""What the names among the pins mean; what is a pin is tested with what is deleted."""

import pytest

from dsgmigd.names import RepoName
from dsgmigd.source.pin_names import PinSet, parse_pin_name, parse_set_name
from tests.unit.source.fake_btrfs import UUIDS
from tests.unit.source.repositories import SPOOL_ID

ID = "0b8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"
OF_S1 = UUIDS["s1"]


@pytest.mark.parametrize("name", ["SV", "SV.r1", ID, f"SV-norm.{ID}", f"SV.{ID.upper()}", "x y"])
def test_the_directory_of_a_request_is_called_after_repository_and_request(name: str) -> None:
    assert parse_set_name(name) is None
    dotted = RepoName("SV.with.dots")
    assert parse_set_name(f"SV.with.dots.{ID}") == PinSet(dotted, ID)
    assert parse_set_name(f"SV.with.dots.{ID}", SPOOL_ID) == PinSet(dotted, ID, SPOOL_ID)


@pytest.mark.parametrize("name", ["s1.", "s01", "1", "s1.x", f"s1.{OF_S1}.x", f".{OF_S1}", "notes"])
def test_a_pin_is_called_after_its_snapshot_and_its_subvolume(name: str) -> None:
    assert parse_pin_name(name) is None
    for good in ("s12", f"s12.{OF_S1}"):
        assert str(parse_pin_name(good)) == good
