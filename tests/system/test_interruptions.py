"""Whatever interrupts an instance in mid-run on a real system, its work is done in the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.system.host import SPOOL, Host

UNIT = "dsgmigd@1.service"
DROP_IN = f"/run/systemd/system/{UNIT}.d/test.conf"
# The work must outlast a reboot or the installation of a package, however busy this host is.
SNAPSHOTS = 40


def begin(host: Host, repo: str) -> str:
    """Let instance 1 work on a repository that takes a while; return its main process."""
    host.run("systemctl stop 'dsgmigd@*.service'", seconds=120)
    host.inside("bulky", str(SNAPSHOTS), "1", repo)
    host.inside("observe")
    host.run(f"touch {SPOOL}/{repo}.request")
    host.start([UNIT])
    host.wait_verified(repo)
    return host.run(f"systemctl show --value --property MainPID {UNIT}")


def assert_done(host: Host, repo: str, attempts: int) -> None:
    """Fail unless the request has come to its end after so many attempts, and nothing is left."""
    result = host.result(repo)
    assert (result["outcome"], result["error"]) == ("done", None)
    assert len(result["attempts"]) == attempts
    assert host.inside("compare", repo) == []
    assert host.violations({repo: 1}) == []


def show(host: Host, key: str) -> str:
    return host.run(f"systemctl show --value --property {key} {UNIT}")


@contextmanager
def drop_in(host: Host, *lines: str) -> Iterator[None]:
    """Change the unit for a while, as `systemctl edit --runtime` does it."""
    text = "\n".join(("[Service]", *lines, ""))
    host.run(f"mkdir -p $(dirname {DROP_IN})")
    host.copy_in(text.encode(), DROP_IN)
    host.run("systemctl daemon-reload")
    try:
        yield
    finally:
        host.run(f"rm {DROP_IN}; systemctl daemon-reload")


def test_stop_ends_within_its_time_and_start_resumes_and_so_after_a_kill(host: Host) -> None:
    begin(host, "stopped")
    host.run(f"systemctl stop {UNIT}", seconds=120)
    assert (show(host, "Result"), show(host, "ExecMainStatus")) == ("success", "0")
    assert host.run(f"ls {SPOOL}").splitlines().count("stopped.claim.1") == 1
    host.start([UNIT])
    plans = "journalctl DSGMIGD_REPO=stopped DSGMIGD_EVENT=plan.made --output=cat"
    host.wait_until(f"test $({plans} | wc --lines) = 2")
    host.run(f"systemctl kill --signal=KILL {UNIT}")
    assert_done(host, "stopped", attempts=3)
    assert show(host, "NRestarts") == "1"


def test_a_reload_interrupts_nothing(host: Host) -> None:
    process = begin(host, "reloaded")
    host.run(f"systemctl reload {UNIT}")
    assert_done(host, "reloaded", attempts=1)
    assert show(host, "MainPID") == process


def test_a_hung_instance_is_ended_by_the_watchdog_and_resumes(host: Host) -> None:
    with drop_in(host, "WatchdogSec=25", "TimeoutAbortSec=5"):
        process = begin(host, "hung")
        host.run(f"kill -STOP {process}")
        assert_done(host, "hung", attempts=2)
    assert host.succeeds(f"journalctl --unit={UNIT} | grep -q 'Watchdog timeout'")


def test_an_instance_without_memory_is_ended_as_a_whole_and_resumes(host: Host) -> None:
    begin(host, "hungry")
    host.run(f"systemctl set-property --runtime {UNIT} MemoryMax=8M MemorySwapMax=0")
    host.wait_until(f"journalctl --unit={UNIT} | grep -q 'oom-kill'")
    host.run(f"systemctl set-property --runtime {UNIT} MemoryMax=infinity")
    assert_done(host, "hungry", attempts=2)


def test_a_reboot_interrupts_and_the_next_boot_resumes(host: Host) -> None:
    host.run("systemctl enable dsgmigd.target")
    begin(host, "rebooted")
    host.reboot()
    assert_done(host, "rebooted", attempts=2)
    host.run("systemctl disable dsgmigd.target")
