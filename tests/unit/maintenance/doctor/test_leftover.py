"""When there is something left to do."""

from dataclasses import replace

import pytest

from dsgmigd.maintenance.doctor.leftover import Findings, Leftover, Treatment, foreign

LEFTOVER = Leftover("view", "zsd/.dsgmigd/views/SV", "why", "remove")


@pytest.mark.parametrize(
    ("treatment", "is_open"),
    [("remove", True), ("discard", True), ("look", True), ("keep", False)],
)
def test_a_leftover_is_open_unless_it_is_meant_to_stay_or_was_removed(
    treatment: Treatment, *, is_open: bool
) -> None:
    leftover = replace(LEFTOVER, treatment=treatment)
    assert leftover.is_open == is_open
    assert Findings((leftover,), ()).is_clean != is_open
    assert not replace(leftover, is_removed=True).is_open


def test_a_location_that_could_not_be_checked_is_not_clean() -> None:
    assert Findings((), ()).is_clean
    assert not Findings((), ("the pool zsd is SUSPENDED",)).is_clean


def test_a_foreign_object_is_for_an_administrator() -> None:
    found = foreign("zsd/x", "dsgmigd did not make it")
    assert (found.treatment, found.why) == ("look", "not touched: dsgmigd did not make it")
