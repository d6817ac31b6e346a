"""The whole way on a real host: units, journal, users, btrfs, OpenZFS."""

import json
import re

from tests.system.host import PARENT, SPOOL, TARGET, Host

REPOS = ("SV", "CO", "odd")
ENDS = {"request.claimed", "plan.made", "snapshot.made", "snapshot.verified", "request.finished"}


def test_four_instances_migrate_what_is_dropped_into_the_spool(host: Host) -> None:
    """And what they mount, the host sees; the snapshots hold all that the sources do."""
    host.inside("sample", "SV", "3", "10", "1")
    host.inside("sample", "CO", "2", "5", "1")
    host.inside("odd", "odd")
    host.inside("observe")
    for repo in REPOS:
        host.run(f"touch {SPOOL}/{repo}.request")
    host.start()
    for repo in REPOS:
        result = host.result(repo)
        assert (result["outcome"], result["error"], result["losses"]) == ("done", None, [])
        place = host.run(f"findmnt --noheadings --output SOURCE {TARGET}/{repo}")
        assert place == f"{PARENT}/{repo}"
        names = host.run(f"zfs list -H -t snapshot -o name -s creation {PARENT}/{repo}").split()
        assert names == [f"{PARENT}/{repo}@{row['name']}" for row in result["snapshots"]]
    assert host.inside("compare", *REPOS) == []
    assert host.violations(dict.fromkeys(REPOS, 1)) == []


def test_a_difference_would_be_seen(host: Host) -> None:
    """The comparison of the test above, with a target that is not like its source."""
    host.run(
        f"echo more >>{TARGET}/SV/big.bin && touch -d @1.5 {TARGET}/SV/holes.img"
        f" && setfattr -n user.more -v 1 {TARGET}/SV/empty && zfs snapshot {PARENT}/SV@s4"
    )
    try:
        host.run("cd /var/repos/btrsnap/SV && btrfs subvolume snapshot s3 s4")
        found = host.inside("compare", "SV")
        assert {words.split("'")[1] for words in found} == {"big.bin", "holes.img", "empty"}
    finally:
        host.run(f"zfs rollback -r {PARENT}/SV@s3; btrfs subvolume delete /var/repos/btrsnap/SV/s4")


def test_the_journal_tells_a_migration_by_its_repository(host: Host) -> None:
    records = host.journal("DSGMIGD_REPO=SV")
    events = [record["DSGMIGD_EVENT"] for record in records]
    assert set(events) >= ENDS, events
    result = json.loads(host.copy_out(f"{SPOOL}/SV.result.json"))
    for record in records:
        assert record["DSGMIGD_REQUEST_ID"] == result["request_id"]
        assert record["DSGMIGD_INSTANCE"] == str(result["instance"])
        assert record["_SYSTEMD_UNIT"] == f"dsgmigd@{result['instance']}.service"
        assert record["SYSLOG_IDENTIFIER"] == "dsgmigd"
        assert len(record["MESSAGE_ID"]) == 32
    made = [record for record in records if record["DSGMIGD_EVENT"] == "snapshot.made"]
    assert [record["DSGMIGD_SNAPSHOT"] for record in made] == ["s1", "s2", "s3"]
    assert [int(record["DSGMIGD_BYTES"]) for record in made] == [
        row["bytes"] for row in result["snapshots"]
    ]
    last = records[-1]
    assert last["DSGMIGD_EVENT"] == "request.finished"
    assert int(last["DSGMIGD_FILES"]) > 0
    assert int(last["DSGMIGD_DURATION_USEC"]) > 0


def test_a_member_of_the_group_submits_and_reads_a_stranger_does_neither(host: Host) -> None:
    host.run("useradd --groups dsgmigd ana; useradd stranger")
    request, result = f"{SPOOL}/CO.request", f"{SPOOL}/CO.result.json"
    assert not host.succeeds(f"sudo -u stranger touch {request}")
    assert not host.succeeds("sudo -u stranger dsgmigd submit CO")
    assert not host.succeeds(f"sudo -u stranger cat {result}")
    assert not host.succeeds(f"sudo -u ana ls {SPOOL}")
    assert not host.succeeds(f"sudo -u ana rm {result}")
    before = host.copy_out(result)
    host.run(f"sudo -u ana touch {request}")
    assert host.result("CO", unlike=before)["outcome"] == "up_to_date"
    before = host.copy_out(result)
    host.run("sudo -u ana dsgmigd submit CO --note mine")
    told = host.result("CO", unlike=before)
    assert (told["outcome"], told["request"]["note"]) == ("up_to_date", "mine")
    assert json.loads(host.run(f"sudo -u ana cat {result}")) == told


def test_the_unit_opens_no_device_but_that_of_zfs_and_makes_nodes_of_every_kind(host: Host) -> None:
    """As a process with the same rules sees it."""
    unit = host.run("systemctl cat dsgmigd@1.service")
    rules = re.findall("^(DevicePolicy|DeviceAllow)=(.+)$", unit, re.MULTILINE)
    assert len(rules) >= 4
    options = " ".join(f"--property='{key}={value}'" for key, value in rules)
    disk = host.device("spare")
    node = "mknod /run/x-char c 1 11 && mknod /run/x-block b 7 99 && rm /run/x-char /run/x-block"
    devices = (("/dev/zfs", True), ("/dev/null", True), ("/dev/kmsg", False), (disk, False))
    for opened, is_allowed in devices:
        command = f"systemd-run --wait --quiet {options} sh -c ': <{opened}'"
        assert host.succeeds(command) is is_allowed, opened
    assert host.succeeds(f"systemd-run --wait --quiet {options} sh -c '{node}'")
