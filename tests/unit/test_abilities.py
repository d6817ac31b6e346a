"""What a target file system can hold, and which lack ends a run before it begins."""

import pytest

from dsgmigd.abilities import Abilities, check_losses
from dsgmigd.errors import LossNotAllowed
from dsgmigd.request import Loss


@pytest.mark.parametrize(
    ("abilities", "lacking"),
    [
        (Abilities(), ()),
        (Abilities(xattrs=False), ("xattr",)),
        (Abilities(subsecond_mtime=False), ("subsecond_mtime",)),
        (Abilities(xattrs=False, subsecond_mtime=False), ("xattr", "subsecond_mtime")),
    ],
)
def test_what_is_lacking_is_named_as_a_request_allows_it(
    abilities: Abilities, lacking: tuple[Loss, ...]
) -> None:
    assert abilities.lacking() == lacking


def test_whole_second_times_end_a_run_that_does_not_allow_them() -> None:
    poor = Abilities(subsecond_mtime=False)
    with pytest.raises(LossNotAllowed, match="whole seconds"):
        check_losses(poor, ("xattr",))
    check_losses(poor, ("subsecond_mtime",))


def test_missing_attributes_end_no_run_before_the_source_shows_one() -> None:
    check_losses(Abilities(xattrs=False), ())
