"""A host that does not do its part: its pool, its journal, its administrators."""

from collections.abc import Iterator

import pytest

from tests.system.host import SPOOL, TARGET, Host

SECOND_SPOOL = "/var/spool/second"
SECOND_UNIT = "dsgmigd@5.service"
CONFIG = f"""
[spool]
directory = "{SECOND_SPOOL}"
[target]
parent = "second"
[retry]
first_seconds = 2
[worker]
stall_seconds = 5
"""
DROP_IN = """
[Service]
Environment=DSGMIGD_CONFIG=/etc/dsgmigd/second.toml
"""
JOURNAL = "systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket"
# A journald that is started with such a disk ends at once; this one runs, takes every record, and
# cannot write one.
JOURNALS = "/run/log/journal /var/log/journal"
FILL_JOURNAL = f"""
set -e
mkdir -p {JOURNALS}
for place in {JOURNALS}; do mount -t tmpfs -o size=3M tmpfs $place; done
systemctl restart systemd-journald
journalctl --flush
for place in {JOURNALS}; do dd if=/dev/zero of=$place/rest bs=64k status=none || true; done
head -c 3000000 /dev/urandom | base64 --wrap=1000 | logger
logger --tag probe probe
sleep 5
! journalctl --quiet --identifier=probe | grep probe
"""
# A pool on a device that can be made to fail, and to come back with all that was written.
SECOND_POOL = f"""
set -e
mkdir -p {SECOND_SPOOL} /run/systemd/system/{SECOND_UNIT}.d
sectors=$(blockdev --getsz SPARE)
wipefs --quiet --all SPARE
dmsetup create second --table "0 $sectors linear SPARE 0"
zpool create -o failmode=wait -O xattr=sa -O acltype=posixacl second /dev/mapper/second
"""
FAIL = """
dmsetup suspend --nolockfs --noflush second
dmsetup load second --table "0 $(blockdev --getsz /dev/mapper/second) error"
dmsetup resume second
"""
REPAIR = """
dmsetup suspend --nolockfs --noflush second
dmsetup load second \
    --table "0 $(blockdev --getsz /dev/mapper/second) linear SPARE 0"
dmsetup resume second
zpool clear second
"""


@pytest.fixture(scope="module")
def second(host: Host) -> Iterator[Host]:
    """The host with a fifth instance, whose target is a pool of its own."""
    host.run("systemctl stop 'dsgmigd@*.service'", seconds=120)
    host.run(SECOND_POOL.replace("SPARE", host.device("spare")))
    host.copy_in(CONFIG.encode(), "/etc/dsgmigd/second.toml")
    host.copy_in(DROP_IN.encode(), f"/run/systemd/system/{SECOND_UNIT}.d/second.conf")
    host.run("systemctl daemon-reload")
    host.start([SECOND_UNIT])
    yield host
    host.run(f"systemctl stop {SECOND_UNIT}; zpool destroy second; dmsetup remove second")


def done(host: Host, repo: str, spool: str = SPOOL) -> None:
    result = host.result(repo, spool=spool)
    assert (result["outcome"], result["error"]) == ("done", None)


def test_a_pool_that_suspends_is_waited_for(second: Host) -> None:
    second.inside("bulky", "3", "12", "suspended")
    second.run(f"touch {SECOND_SPOOL}/suspended.request")
    second.wait_verified("suspended")
    second.run(FAIL)
    second.wait_until("test $(zpool list -Ho health second) = SUSPENDED")
    second.wait_until(
        "journalctl DSGMIGD_REPO=suspended DSGMIGD_EVENT=target.unavailable | grep -q SUSPENDED"
    )
    second.run(REPAIR.replace("SPARE", second.device("spare")))
    done(second, "suspended", SECOND_SPOOL)


def test_a_pool_that_is_exported_is_waited_for(second: Host) -> None:
    second.inside("bulky", "1", "1", "exported")
    second.run("zpool export second")
    second.run(f"touch {SECOND_SPOOL}/exported.request")
    second.wait_until("journalctl DSGMIGD_REPO=exported | grep -q deferred")
    second.run("zpool import -d /dev/mapper second")
    done(second, "exported", SECOND_SPOOL)


def test_a_full_pool_is_waited_for(second: Host) -> None:
    used = int(second.run("zfs get -Hpo value used second"))
    second.run(f"zfs set quota={used + (20 << 20)} second")
    second.inside("bulky", "3", "12", "full")
    second.run(f"touch {SECOND_SPOOL}/full.request")
    second.wait_until("journalctl DSGMIGD_REPO=full | grep -q deferred")
    second.run("zfs set quota=none second")
    done(second, "full", SECOND_SPOOL)


def test_a_shell_that_stands_in_staging_is_waited_for(host: Host) -> None:
    host.start()
    host.inside("bulky", "4", "4", "stood")
    staging = f"{TARGET}/.dsgmigd/staging/stood"
    stand = f"until mountpoint -q {staging}; do :; done; cd {staging}; exec sleep infinity"
    host.run(f"systemd-run --unit=stander sh -c '{stand}'")
    host.run(f"touch {SPOOL}/stood.request")
    host.wait_until("journalctl DSGMIGD_REPO=stood | grep -Eq 'deferred|request.failed'")
    host.run("systemctl stop stander")
    done(host, "stood")


@pytest.mark.parametrize(
    ("repo", "before", "after"),
    [
        (
            "unheard",
            f"systemctl stop {JOURNAL} systemd-journald-audit.socket",
            f"systemctl start {JOURNAL}",
        ),
        (
            "stuck",
            "kill -STOP $(pidof systemd-journald)",
            "kill -CONT $(pidof systemd-journald)",
        ),
        (
            "unwritten",
            FILL_JOURNAL,
            f"umount {JOURNALS}; systemctl restart systemd-journald",
        ),
    ],
)
def test_a_journal_that_does_not_listen_costs_no_migration(
    host: Host, repo: str, before: str, after: str
) -> None:
    host.start()
    host.inside("bulky", "2", "1", repo)
    host.run(before)
    try:
        host.run(f"touch {SPOOL}/{repo}.request")
        done(host, repo)
        host.run(f"! timeout 10 journalctl --quiet DSGMIGD_REPO={repo} | grep request")
    finally:
        host.run(after)
    # The journal works again; what waited for it comes first.
    host.run(f"touch {SPOOL}/{repo}.request")
    host.wait_until(f"journalctl DSGMIGD_REPO={repo} | grep -q request.finished")


@pytest.mark.parametrize(
    "setting", ["PrivateTmp=yes", "ProtectSystem=yes", "ProtectKernelTunables=yes"]
)
def test_a_unit_whose_mounts_the_host_would_not_see_does_not_start(
    host: Host, setting: str
) -> None:
    unit = "dsgmigd@6.service"
    drop_in = f"/run/systemd/system/{unit}.d/private.conf"
    host.run(f"mkdir -p $(dirname {drop_in})")
    host.copy_in(f"[Service]\n{setting}\n".encode(), drop_in)
    try:
        host.run(f"systemctl daemon-reload; ! systemctl start {unit}", seconds=300)
        assert host.run(f"systemctl show --property=ExecMainStatus {unit}") == "ExecMainStatus=78"
    finally:
        host.run(f"rm {drop_in}; systemctl reset-failed {unit}; systemctl daemon-reload")
    host.run(f"systemctl start {unit} && systemctl stop {unit}", seconds=300)


def test_a_shell_whose_mounts_the_host_would_not_see_migrates_nothing(host: Host) -> None:
    host.inside("bulky", "1", "1", "unseen")
    for command in ("migrate unseen", "config check", "doctor"):
        said = host.run(f"! unshare --mount dsgmigd {command} 2>&1")
        assert "mount namespace of its own" in said
    assert not host.succeeds("zfs list zsd/unseen")
    host.run("unshare --mount --propagation unchanged dsgmigd migrate unseen", seconds=600)
    host.run(f"findmnt {TARGET}/unseen")
    host.inside("remove", "unseen")
