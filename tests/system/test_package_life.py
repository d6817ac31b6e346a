"""The package comes, is upgraded, goes and is purged on a real system: what it leaves behind."""

from collections.abc import Iterator

import pytest

from tests.system.host import INSTALL, SPOOL, TARGET, Host
from tests.system.test_interruptions import UNIT, assert_done, begin

# All that the package has made; what else is in /etc/dsgmigd is the administrator's.
_CONFIGURATION = "/etc/dsgmigd/dsgmigd.toml"
_TRACES = (
    f"ls -d {_CONFIGURATION} /usr/bin/dsgmigd /usr/lib/python3/dist-packages/dsgmigd"
    " /usr/lib/systemd/system/dsgmigd* /usr/share/doc/dsgmigd /var/lib/systemd/catalog.d/dsgmigd*"
    " 2>/dev/null || true"
)


@pytest.fixture
def reinstalled(host: Host) -> Iterator[Host]:
    """The host, on which the package is installed again in the end."""
    yield host
    host.run(INSTALL, seconds=600)


def suspend(host: Host) -> None:
    """Let instance 1 do nothing more until systemd ends it, and continues it for that.

    Otherwise its work may be done before the package manager comes to stop it.
    """
    host.run(f"systemctl kill --signal=STOP {UNIT}")


def test_an_upgrade_in_mid_run_interrupts_and_the_new_version_resumes(host: Host) -> None:
    process = begin(host, "upgraded")
    suspend(host)
    host.run(INSTALL, seconds=600)
    assert_done(host, "upgraded", attempts=2)
    assert host.run(f"systemctl show --value --property MainPID {UNIT}") not in {process, "0"}
    assert host.run("systemctl is-active 'dsgmigd@*'").split() == ["active"], "others were started"


def test_removal_stops_the_work_and_purge_leaves_the_archive_and_its_records(
    reinstalled: Host,
) -> None:
    host = reinstalled
    begin(host, "removed")
    suspend(host)
    host.run("dpkg --remove dsgmigd", seconds=300)
    assert not host.succeeds(f"systemctl is-active {UNIT}")
    assert host.run(f"ls {SPOOL}").splitlines().count("removed.claim.1") == 1
    assert host.run(_TRACES) == _CONFIGURATION
    host.run(INSTALL, seconds=600)
    host.start([UNIT])
    assert_done(host, "removed", attempts=2)

    told = host.run("dpkg --purge dsgmigd 2>&1", seconds=300)
    assert f"{SPOOL} is kept, because it holds requests or results" in told
    assert host.run(_TRACES) == ""
    assert host.succeeds(f"test -s {SPOOL}/removed.result.json")
    assert host.succeeds(f"test -s {TARGET}/removed/.dsg/last-sync.json")
    assert host.succeeds("getent group dsgmigd"), "files of the spool belong to it"
