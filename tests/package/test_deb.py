"""dsgmigd_VERSION_all.deb: built, installed, upgraded, removed and purged on Debian 12."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dsgmigd import __version__
from tests.package.conftest import CHECKOUT, Machine, build

CONFIGURATION = "etc/dsgmigd/dsgmigd.toml"
SPOOL = "var/spool/dsgmigd"
# systemctl and what it was asked, on a machine where it seems to be the first process.
SYSTEMCTL = '#!/bin/sh\necho "$*" >>/root/asked\n'


@pytest.fixture
def installed(machine: Machine, package: Path) -> Machine:
    machine.install(package)
    return machine


def spool_names(machine: Machine) -> list[str]:
    return sorted(path.name for path in (machine.root / SPOOL).iterdir())


# The package itself.


def test_the_same_files_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Whoever builds, with whatever umask, and whenever."""
    time.sleep(1.1)  # ar and tar note whole seconds
    before = os.umask(0o077)
    try:
        again = build(tmp_path)
    finally:
        os.umask(before)
    assert again.read_bytes() == package.read_bytes()


def test_lintian_finds_nothing(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", package],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_override_has_its_reason() -> None:
    """A line of comment stands right before each."""
    for path in (CHECKOUT / "packaging/debian").glob("*lintian-overrides"):
        lines = path.read_text().splitlines()
        bare = [
            line
            for before, line in zip(["", *lines], lines, strict=False)
            if not line.startswith("#") and not before.startswith("#")
        ]
        assert bare == []


# Installed.


def test_the_command_works_with_the_distributions_own_libraries(installed: Machine) -> None:
    assert installed.run("dsgmigd", "--version").stdout == f"dsgmigd, version {__version__}\n"
    assert "the configuration is valid\n" in installed.run("dsgmigd", "config", "check").stdout
    assert "no instance is running" in installed.run("dsgmigd", "status").stdout


def test_every_module_can_be_imported(installed: Machine) -> None:
    """Not only those that `--version` needs."""
    names = [
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        for path in (CHECKOUT / "dsgmigd").rglob("*.py")
    ]
    imports = f"import {', '.join(name for name in names if name != 'dsgmigd.__main__')}"
    installed.run("sh", "-c", 'cd / && exec python3 -W error -c "$1"', "sh", imports)


def test_all_that_belongs_to_it_is_there(installed: Machine) -> None:
    listed = set(installed.run("dpkg", "--listfiles", "dsgmigd").stdout.splitlines())
    assert {
        "/etc/dsgmigd/dsgmigd.toml",
        "/lib/systemd/system/dsgmigd.slice",
        "/lib/systemd/system/dsgmigd.target",
        "/lib/systemd/system/dsgmigd@.service",
        "/usr/bin/dsgmigd",
        "/usr/lib/systemd/catalog/dsgmigd.catalog",
        "/usr/lib/sysusers.d/dsgmigd.conf",
        "/usr/lib/tmpfiles.d/dsgmigd.conf",
        "/usr/share/bash-completion/completions/dsgmigd",
        "/usr/share/dsgmigd/request.schema.json",
        "/usr/share/dsgmigd/result.schema.json",
        "/usr/share/fish/vendor_completions.d/dsgmigd.fish",
        "/usr/share/man/man5/dsgmigd-request.5.gz",
        "/usr/share/man/man5/dsgmigd.toml.5.gz",
        "/usr/share/man/man8/dsgmigd.8.gz",
        "/usr/share/zsh/vendor-completions/_dsgmigd",
    } <= listed
    # CONTRIBUTING.md is for those who have a checkout.
    documents = {path.name for path in CHECKOUT.glob("*.md")} - {"CONTRIBUTING.md"}
    documents |= {path.name for path in (CHECKOUT / "docs").glob("*.md")}
    there = {Path(path).name.removesuffix(".gz") for path in listed if "/doc/" in path}
    assert documents <= there


def test_the_journal_knows_what_its_records_mean(installed: Machine) -> None:
    listed = installed.run("journalctl", "--list-catalog").stdout
    assert listed.count(" dsgmigd: ") == (CHECKOUT / "systemd/dsgmigd.catalog").read_text().count(
        "\n-- "
    )


def test_nothing_is_enabled_and_nothing_is_started(machine: Machine, package: Path) -> None:
    before = machine.listing()
    watch(machine)
    machine.install(package)

    links = [path for path in machine.listing() - before if ".wants/" in path]
    assert links == []
    asked = (machine.root / "root/asked").read_text().split("\n")
    assert [line for line in asked if "start" in line or "enable" in line] == []


def test_members_of_the_group_may_submit_and_no_others(installed: Machine) -> None:
    installed.run("useradd", "--groups", "dsgmigd", "anna")
    installed.run("useradd", "otto")

    as_anna = installed.run("su", "anna", "-c", "dsgmigd submit SV --limit 2")
    as_otto = installed.run("su", "otto", "-c", "dsgmigd submit CO", check=False)
    listed = installed.run("su", "anna", "-c", f"ls /{SPOOL}", check=False)
    status = installed.run("su", "anna", "-c", "dsgmigd status", check=False)

    assert as_anna.stdout == "SV: submitted\n"
    assert as_otto.returncode == 78
    assert "spool_unusable" in as_otto.stdout
    assert "Permission denied" in listed.stdout
    assert (status.returncode, "must be run as root" in status.stdout) == (77, True)
    assert "Traceback" not in as_otto.stdout + status.stdout
    assert spool_names(installed) == [".dsgmigd", "SV.request", "rejected"]
    assert json.loads((installed.root / SPOOL / "SV.request").read_text()) == {"limit": 2}


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "bash-completion/completions/dsgmigd"),
        ("zsh", "zsh/vendor-completions/_dsgmigd"),
        ("fish", "fish/vendor_completions.d/dsgmigd.fish"),
    ],
)
def test_each_shell_has_its_completion(installed: Machine, shell: str, place: str) -> None:
    text = (installed.root / "usr/share" / place).read_text()
    assert f"_DSGMIGD_COMPLETE={shell}_complete" in text


def test_zsh_completes_at_the_first_tab(installed: Machine) -> None:
    """It loads the file as a function, and calls that once: then it has to complete already."""
    text = (installed.root / "usr/share/zsh/vendor-completions/_dsgmigd").read_text()
    assert text.endswith('\n_dsgmigd_completion "$@"\n')


def test_bash_completes_verbs(installed: Machine) -> None:
    script = (
        ". /usr/share/bash-completion/completions/dsgmigd; "
        "COMP_WORDS=(dsgmigd su); COMP_CWORD=1; "
        "$(complete -p dsgmigd | sed 's/.*-F \\([^ ]*\\).*/\\1/') dsgmigd; echo ${COMPREPLY[@]}"
    )
    assert installed.run("bash", "-c", script).stdout == "submit\n"


# Later.


def watch(machine: Machine) -> None:
    """Let the machine seem to run systemd, and note what systemctl is asked."""
    (machine.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    (machine.root / "usr/sbin/policy-rc.d").unlink()
    for place in ("bin/systemctl", "usr/bin/systemctl"):
        program = machine.root / place
        if program.exists():
            program.unlink()
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)


def asked_about_us(machine: Machine) -> list[str]:
    note = machine.root / "root/asked"
    lines = note.read_text().splitlines() if note.exists() else []
    note.unlink(missing_ok=True)
    return [line for line in lines if "dsgmigd" in line]


def test_running_instances_and_no_others_are_restarted_by_an_upgrade(
    machine: Machine, package: Path
) -> None:
    watch(machine)
    machine.install(package)
    assert asked_about_us(machine) == []

    machine.install(package)
    assert asked_about_us(machine) == ["try-restart dsgmigd@*.service"]

    machine.run("dpkg", "--remove", "dsgmigd")
    assert asked_about_us(machine) == ["stop dsgmigd.target dsgmigd@*.service"]


def test_an_upgrade_leaves_configuration_and_spool_as_they_are(
    installed: Machine, package: Path
) -> None:
    configuration = installed.root / CONFIGURATION
    configuration.write_text('[target]\nparent = "tank"\n')
    (installed.root / SPOOL / "SV.request").touch()

    installed.install(package)

    assert configuration.read_text() == '[target]\nparent = "tank"\n'
    assert spool_names(installed) == [".dsgmigd", "SV.request", "rejected"]


def test_removal_leaves_configuration_and_spool(machine: Machine, package: Path) -> None:
    before = machine.listing()
    machine.install(package)
    installed = machine.listing()

    machine.run("dpkg", "--remove", "dsgmigd")

    left = machine.listing() - before
    spool = {path for path in installed if path.startswith(f"/{SPOOL}")}
    assert spool
    # The last is what systemd's helper remembers of a unit until the purge.
    assert left == {
        *spool,
        *("/etc/dsgmigd", f"/{CONFIGURATION}"),
        "/var/lib/systemd/deb-systemd-helper-enabled/dsgmigd.target.dsh-also",
    }


@pytest.mark.parametrize("is_removed_first", [True, False])
def test_purge_leaves_nothing(machine: Machine, package: Path, *, is_removed_first: bool) -> None:
    before = machine.listing()
    machine.install(package)
    for name in ("control/all", "ledger.lock"):  # a pause by hand, of which no ledger tells
        (machine.root / SPOOL / ".dsgmigd" / name).touch()
    (machine.root / SPOOL / ".dsgmigd/proofs/SV").write_text("nor are proofs")
    if is_removed_first:
        machine.run("dpkg", "--remove", "dsgmigd")

    machine.run("dpkg", "--purge", "dsgmigd")

    assert machine.listing() ^ before == set()
    assert "dsgmigd:" in (machine.root / "etc/group").read_text()  # files may be the group's


@pytest.mark.parametrize(
    "record",
    [
        *("SV.request", "SV.claim.1", "SV.result.json", "SV.discrepancies.jsonl", "notes.txt"),
        *("rejected/x", ".dsgmigd/results/SV.1.json", ".dsgmigd/control/SV.1.withdrawn"),
        *(".dsgmigd/results/ledger.jsonl", ".dsgmigd/evidence/s1", ".dsgmigd/something.new"),
    ],
)
def test_purge_keeps_a_spool_that_holds_records(installed: Machine, record: str) -> None:
    (installed.root / SPOOL / record).write_text("x")
    (installed.root / SPOOL / ".dsgmigd/locks/SV").touch()
    kept = {path for path in installed.listing() if path.startswith(f"/{SPOOL}")}

    said = installed.run("dpkg", "--purge", "dsgmigd").stdout

    assert f"/{SPOOL} is kept, because it holds requests or results" in said
    assert {path for path in installed.listing() if path.startswith(f"/{SPOOL}")} == kept


def test_purge_keeps_a_spool_that_cannot_be_searched(installed: Machine) -> None:
    """A file system that fails shows nothing, and may hold everything."""
    failing = installed.root / "usr/bin/find"
    failing.unlink()
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    kept = set((installed.root / SPOOL).rglob("*"))
    assert kept

    said = installed.run("dpkg", "--purge", "dsgmigd").stdout

    assert f"/{SPOOL} is kept, because it holds requests or results, or cannot be searched" in said
    assert set((installed.root / SPOOL).rglob("*")) == kept


def test_purge_leaves_a_spool_alone_that_lies_elsewhere(installed: Machine) -> None:
    """A link is the administrator's."""
    spool = installed.root / SPOOL
    elsewhere = installed.root / "srv/spool"
    shutil.move(spool, elsewhere)
    spool.symlink_to("/srv/spool")

    installed.run("dpkg", "--purge", "dsgmigd")

    assert spool.is_symlink()
    assert (elsewhere / ".dsgmigd/locks").is_dir()
