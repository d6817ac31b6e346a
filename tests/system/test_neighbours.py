"""What else lives on a host: a locale of one byte a character, properties, snapshot tools.

Many repositories in each case: a fault that needs luck would spare one.
"""

import re
from collections.abc import Iterator

import pytest

from tests.amounts import amount
from tests.system.host import PARENT, SPOOL, Host
from tests.system.test_interruptions import SNAPSHOTS

COUNT = int(amount("DSGMIGD_NEIGHBOURS"))
STAGING = f"{PARENT}/.dsgmigd/staging"
LATIN_1 = "de_DE.ISO-8859-1"
# A configuration of sanoid has snapshots of a kind taken if it wants some and there is none, and
# all of them destroyed if it wants none.
SANOID = """
[zsd]
use_template = test
recursive = zfs
[template_test]
autosnap = yes
autoprune = yes
frequently = 0
hourly = {hourly}
daily = 0
weekly = 0
monthly = 0
yearly = 0
"""
SANOID_AT_WORK = """
sanoid="sanoid --force-update --configdir"
while :; do $sanoid /etc/sanoid-1 --take-snapshots; done &
while :; do $sanoid /etc/sanoid-0 --prune-snapshots; sleep 1; done
"""
HISTORY = f"zpool history -i {PARENT} | grep @autosnap_ || true"
# A line: … [txg:123] snapshot zsd/.dsgmigd/staging/SV@autosnap_… (456)
EVENT = re.compile(r"\] (snapshot|destroy) (\S+)@(autosnap_\S+) ")


@pytest.fixture
def idle(host: Host) -> Iterator[Host]:
    """The host, whose instances do not run yet, and stop at the end."""
    host.run("systemctl stop 'dsgmigd@*.service'")
    yield host
    host.run("systemctl stop 'dsgmigd@*.service'")


def migrate_all(host: Host, prefix: str, *others: str) -> list[str]:
    """Migrate `COUNT` new repositories without a failure; return their names, and the others'.

    The others were requested before.
    """
    made = [f"{prefix}{number:02}" for number in range(COUNT)]
    host.inside("named", *made)
    repos = [*others, *made]
    host.start()
    host.run("touch " + " ".join(f"{SPOOL}/{repo}.request" for repo in made))
    results = {repo: host.result(repo) for repo in repos}
    errors = {repo: result["error"] for repo, result in results.items() if result["error"]}
    assert errors == {}
    assert {result["outcome"] for result in results.values()} == {"done"}
    found = host.inside("compare", *repos)
    assert [words for words in found if "only on one side: autosnap_" not in words] == []
    return repos


@pytest.fixture
def latin_1(idle: Host) -> Iterator[Host]:
    """The host with a locale in which most names of files cannot be spelled."""
    idle.run(f"localedef --inputfile=de_DE --charmap=ISO-8859-1 {LATIN_1}", seconds=300)
    assert idle.run(f"LC_ALL={LATIN_1} locale charmap") == "ISO-8859-1"
    idle.run(f"echo LANG={LATIN_1} >/etc/locale.conf; systemctl daemon-reexec")
    assert f"LANG={LATIN_1}" in idle.run("systemctl show-environment")
    yield idle
    idle.run("rm /etc/locale.conf; systemctl unset-environment LANG; systemctl daemon-reexec")


def test_a_host_with_a_locale_of_one_byte_a_character_migrates_every_repository(
    latin_1: Host,
) -> None:
    migrate_all(latin_1, "latin")
    for command in ("status", "plan latin01", "log latin01", "blame latin01 änderte", "doctor"):
        words = latin_1.run(f"LC_ALL={LATIN_1} dsgmigd {command} 2>&1", check=False)
        assert "Traceback" not in words, words
    listed = latin_1.run(f"LC_ALL={LATIN_1} dsgmigd blame latin01 $(printf '\\303\\244ndert') 2>&1")
    assert "s2" in listed


def test_a_host_whose_snapshots_are_visible_migrates_every_repository(idle: Host) -> None:
    idle.run(f"zfs set snapdir=visible {PARENT}")
    try:
        migrate_all(idle, "visible")
    finally:
        idle.run(f"zfs inherit snapdir {PARENT}")


def test_a_host_with_a_snapshot_tool_at_work_migrates_every_repository(idle: Host) -> None:
    """And nothing that the tool made of staging is left in what is published."""
    for hourly in (0, 1):
        config = SANOID.format(hourly=hourly)
        idle.run(f"mkdir -p /etc/sanoid-{hourly}; cp /usr/share/sanoid/sanoid.defaults.conf $_")
        idle.copy_in(config.encode(), f"/etc/sanoid-{hourly}/sanoid.conf")
    idle.copy_in(SANOID_AT_WORK.encode(), "/root/sanoid-at-work")
    idle.run("systemd-run --unit=sanoid-at-work /bin/sh /root/sanoid-at-work")
    try:
        lasting = "lasting"
        idle.inside("bulky", str(SNAPSHOTS), "1", lasting)
        let_the_tool_meet(idle, lasting)
        repos = migrate_all(idle, "sanoid", lasting)
    finally:
        idle.run("systemctl stop sanoid-at-work")
    events = EVENT.findall(idle.run(HISTORY))
    assert any(place.startswith(f"{STAGING}/") for _, place, _ in events), "it met no staging"
    for repo in repos:
        assert left_of_staging(events, repo) == set()


def let_the_tool_meet(host: Host, repo: str) -> None:
    """Let the workers stand still in the middle of a repository until its staging has snapshots."""
    host.start()
    host.run(f"touch {SPOOL}/{repo}.request")
    host.wait_verified(repo)
    host.run("systemctl kill --kill-whom=main --signal=STOP 'dsgmigd@*.service'")
    host.wait_until(f"zpool history -i {PARENT} | grep -q '{STAGING}/{repo}@autosnap_'")
    host.run("systemctl kill --kill-whom=main --signal=CONT 'dsgmigd@*.service'")


def left_of_staging(events: list[tuple[str, str, str]], repo: str) -> set[str]:
    """Return the snapshots that were made of staging, and destroyed neither there nor later."""
    places = {f"{STAGING}/{repo}", f"{PARENT}/{repo}"}
    made = {
        name for event, place, name in events if (event, place) == ("snapshot", f"{STAGING}/{repo}")
    }
    return made - {name for event, place, name in events if event == "destroy" and place in places}
