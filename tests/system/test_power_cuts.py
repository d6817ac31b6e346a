"""The power is cut at random moments; what was flushed is there, what was not may be lost.

tests/amounts.py says how often; DSGMIGD_SEED chooses the moments.
"""

import os
import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.amounts import amount
from tests.system.host import PARENT, SPOOL, EmulatedHost, Host

CUTS = int(amount("DSGMIGD_POWER_CUTS"))
SEED = int(os.environ.get("DSGMIGD_SEED", "1"))
# Of a recovery, too, the power is cut; a boot takes longer than most of what is looked for.
CUTS_IN_A_ROW = 8
LONGEST_SECONDS = 25
REPOSITORIES = 4 if CUTS > 1 else 2
SNAPSHOTS = min(CUTS_IN_A_ROW, 1 + CUTS)  # work for as many cuts
PLACE = "/etc/systemd/system/dsgmigd@.service.d/persistent.conf"
DROP_IN = """
[Service]
Environment=DSGMIGD_CONFIG=/etc/dsgmigd/persistent.toml
"""
CONFIG = """
[worker]
maximum_attempts = 100
"""


@pytest.mark.nightly
def test_the_disks_forget_what_was_not_flushed_and_nothing_else(emulated: EmulatedHost) -> None:
    """The bed itself: without this no test below could fail."""
    spare = emulated.device("spare")
    emulated.run(f"yes old | dd of={spare} bs=1M count=1 iflag=fullblock oflag=direct conv=fsync")
    emulated.run(f"echo flushed >{SPOOL}/flushed && sync --file-system {SPOOL}")
    # This is on the disk, and nothing has told the disk to keep it.
    emulated.run(f"yes new | dd of={spare} bs=1M count=1 iflag=fullblock oflag=direct")
    assert emulated.run(f"head -c 3 {spare}") == "new"
    assert emulated.cut_power(Random(), shares=[0.0]) > 0  # noqa: S311
    emulated.boot()
    assert emulated.run(f"head -c 3 {spare}") == "old"
    assert emulated.run(f"cat {SPOOL}/flushed") == "flushed"


@pytest.fixture
def persistent(emulated: EmulatedHost) -> Iterator[EmulatedHost]:
    """The host with instances that start with it, and that no number of crashes discourages."""
    emulated.run("systemctl stop 'dsgmigd@*'; mkdir -p /etc/systemd/system/dsgmigd@.service.d")
    emulated.copy_in(CONFIG.encode(), "/etc/dsgmigd/persistent.toml")
    emulated.copy_in(DROP_IN.encode(), PLACE)
    emulated.run("systemctl daemon-reload; systemctl enable dsgmigd.target")
    yield emulated
    emulated.run(f"systemctl stop 'dsgmigd@*'; systemctl disable dsgmigd.target; rm {PLACE}")
    emulated.run("systemctl daemon-reload")


def test_no_power_cut_costs_a_request_or_a_snapshot(persistent: EmulatedHost) -> None:
    """Several repositories at once, so that each cut meets them at different points."""
    host, dice = persistent, Random(SEED)  # noqa: S311
    all_forgotten = 0
    for first in range(0, CUTS, CUTS_IN_A_ROW):
        repos = [f"cut{first}n{number}" for number in range(REPOSITORIES)]
        host.inside("bulky", str(SNAPSHOTS), "2", *repos)
        host.inside("observe")
        host.run("; ".join(f"touch {SPOOL}/{repo}.request" for repo in repos))
        host.run("sync")
        for cut in range(first, min(first + CUTS_IN_A_ROW, CUTS)):
            # Every fourth cut, never the first of a row, may find them not yet started.
            if cut % 4 < 3:
                host.start()
            seconds = dice.uniform(0, LONGEST_SECONDS)
            time.sleep(seconds)
            forgotten = host.cut_power(dice)
            all_forgotten += forgotten
            host.boot()
            left = host.run(f"ls {SPOOL} | grep -Ec 'request$|claim'; true")
            print(f"cut {cut} after {seconds:.1f} s: {forgotten} writes forgotten, {left} go on")
        for repo in repos:
            result = host.result(repo)
            # A cut between publication and result leaves nothing to be done by the next attempt.
            assert result["outcome"] in {"done", "up_to_date"}
            assert result["error"] is None
        assert host.inside("compare", *repos) == []
        host.run("systemctl stop 'dsgmigd@*'", seconds=120)
        assert host.violations(dict.fromkeys(repos, 1)) == []
        host.inside("remove", *repos)
    assert all_forgotten > 0, "the disks lose nothing: this test could not fail"


@pytest.mark.nightly
def test_what_a_power_cut_left_half_made_is_in_nobodys_way(host: Host) -> None:
    """ZFS gives a new dataset its properties later; this is how one is that has none yet."""
    host.inside("bulky", "1", "1", "half")
    host.run(
        f"zfs create {PARENT}/.dsgmigd/staging/half && zfs snapshot {PARENT}@half"
        f" && zfs clone {PARENT}@half {PARENT}/.dsgmigd/views/half"
    )
    host.start()
    host.run(f"touch {SPOOL}/half.request")
    result = host.result("half")
    assert (result["outcome"], result["error"]) == ("done", None)
    host.run(f"zfs destroy {PARENT}@half")
