"""What a migration asks of the kernel, in counts."""

import bed
import pytest
from bounds import CALLS, TRANSACTIONS
from calls import COUNTS, Place, transactions

from tests.amounts import amount
from tests.integration import zfs_kind
from tests.integration.conftest import Bed

KIND = bed.zfs_kind()
IF_QUIET = pytest.mark.skipif(
    amount("DSGMIGD_COUNTS") == "no",
    reason="counts need a machine that does nothing else: DSGMIGD_COUNTS=yes, or make nightly",
)


def place_of(made: Bed) -> Place:
    directory = made.spool.parent / "counting"
    directory.mkdir()
    return Place(made.source_root, made.parent, directory)


@pytest.mark.sweep
@IF_QUIET
@pytest.mark.parametrize("name", COUNTS)
def test_a_migration_makes_no_more_system_calls_for_a_file_than_its_bounds_say(
    fresh_bed: Bed, name: str
) -> None:
    found = COUNTS[name](place_of(fresh_bed))
    print(found)  # noqa: T201
    too_many = {figure: n for figure, n in found.items() if n > CALLS[figure][KIND]}
    assert not too_many, f"bounds: {CALLS}"


@pytest.mark.sweep
@IF_QUIET
@zfs_kind.target_with_counted_transactions
def test_a_migration_waits_for_no_more_transactions_of_the_pool_than_its_bounds_say(
    fresh_bed: Bed,
) -> None:
    found = transactions(place_of(fresh_bed))
    print(found)  # noqa: T201
    too_many = {name: found[name] for name, bound in TRANSACTIONS.items() if found[name] > bound}
    assert not too_many, f"bounds: {TRANSACTIONS}"
