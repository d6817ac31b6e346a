"""The arithmetic of the benches: a wrong figure is not seen when it is printed."""

import calls
import pytest
from bounds import CALLS, TRANSACTIONS, WORDS
from cost import Cost, total
from prices import Prices, known_prices, median, median_without
from series import Migrated
from table import Table
from ways import Carried, parts_of


def test_costs_are_added_and_subtracted_by_their_parts() -> None:
    assert Cost(3, 20, 1) - Cost(1, 5, 1) == Cost(2, 15, 0)
    assert total([Cost(1, 2, 3), Cost(10, 20, 30)]) == Cost(11, 22, 33)


def test_a_median_is_taken_of_each_part() -> None:
    assert median([Cost(1, 30, 2), Cost(2, 10, 3), Cost(3, 20, 1)]) == Cost(2, 20, 2)


def test_the_price_of_traps_is_taken_off_for_each_of_them() -> None:
    prices = Prices(call=0.5, fault=0.25)
    assert prices.without(Cost(10, 4, 8)) == 6
    assert median_without(prices, [Cost(10, 4, 8), Cost(1), Cost(100)]) == 6


def test_a_host_without_counters_has_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSGMIGD_BENCH_HOST_TRAPS", raising=False)
    assert known_prices() == Prices()


def test_a_ratio_says_how_many_times_as_much_others_cost_with_and_without_traps() -> None:
    table = Table(Prices(call=0.5))
    assert table.ratios([Cost(4, 4)], [Cost(6, 4)]) == (1.5, 2)


def test_a_pass_costs_what_its_snapshots_cost_and_what_belongs_to_none() -> None:
    carried = Carried([Cost(5), Cost(1), Cost(2)], apart=Cost(1), first_bytes=10, all_bytes=40)
    assert carried.total == Cost(9)
    assert carried.later == [Cost(1), Cost(2)]
    assert carried.growth_bytes == 15


def migrated(*notes: tuple[str, float], walks: list[bool]) -> Migrated:
    rows = [{"verification": {"is_full_walk": one}} for one in walks]
    return Migrated({"snapshots": rows}, [(event, None, Cost(at)) for event, at in notes])


def test_a_snapshot_costs_what_lies_between_the_verification_of_the_last_one_and_its_own() -> None:
    made = migrated(
        *(("plan.made", 0), ("copy", 1), ("snapshot.made", 5), ("snapshot.verified", 7)),
        *(("snapshot.made", 8), ("snapshot.verified", 10)),
        *(("snapshot.made", 11), ("snapshot.verified", 15), ("target.published", 16)),
        walks=[True, False, True],
    )
    assert made.costs == [Cost(6), Cost(3), Cost(5)]
    assert parts_of(made) == {
        "copy": [Cost(1), Cost(1)],
        "verify between full walks": [Cost(2)],
        "verify by a full walk": [Cost(4)],
    }


def test_snapshots_that_are_made_while_another_is_verified_have_no_parts() -> None:
    made = migrated(
        *(("copy", 0), ("snapshot.made", 2), ("snapshot.made", 3)),
        *(("snapshot.verified", 4), ("snapshot.verified", 5)),
        walks=[True, True],
    )
    assert made.costs == [Cost(4), Cost(1)]
    assert parts_of(made) == {}


@pytest.mark.parametrize(
    ("line", "is_counted"),
    [
        ('71 openat(5</zfs/d>, ""..., O_RDONLY) = 6</zfs/d/f>\n', True),
        ('71 pread64(6</zfs/d/f>, ""..., 26000, 0) = 26000\n', True),
        ('71 newfstatat(AT_FDCWD</root>, "/"..., {}, 0) = 0\n', True),
        ("71 read(6</zfs/d/f>,  <unfinished ...>\n", True),
        ('71 <... read resumed>""..., 100) = 100\n', False),
        ('71 read(7<pipe:[12]>, ""..., 100) = 100\n', False),
        ('71 sendto(8<socket:[13]>, ""..., 5, 0, NULL, 0) = 5\n', False),
        ("71 close(8<UNIX-STREAM:[13]>) = 0\n", False),
        ("71 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 6</zfs/d/f>, 0) = 0x7f\n", False),
        ("71 +++ exited with 0 +++\n", False),
        ("71 --- SIGCHLD {si_signo=SIGCHLD} ---\n", False),
    ],
)
def test_a_call_counts_once_and_only_if_it_depends_on_the_files(
    line: str, *, is_counted: bool
) -> None:
    assert calls._is_counted(line) == is_counted


def test_every_count_has_words() -> None:
    assert {*CALLS, *TRANSACTIONS} <= set(WORDS)
    assert all(set(bounds) == {"fuse", "kernel"} for bounds in CALLS.values())
