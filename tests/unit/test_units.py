"""The unit files, read by systemd's own tools."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = "dsgmigd@.service"
TARGET = "dsgmigd.target"
# Debian's own root storage daemons score 6.7 to 9.6.
GREATEST_EXPOSURE = 4.2
# Each of these gives the unit a mount namespace: the host would not see what it mounts.
NAMESPACE_DIRECTIVES = {
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "ExecPaths",
    "InaccessiblePaths",
    "LogNamespace",
    "MountFlags",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
}


def assignments(name: str) -> dict[str, list[str]]:
    """Return every `Key=value` of a unit file; a key may stand several times."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the units, their program replaced by one that every machine has."""
    for unit in UNITS.iterdir():
        if unit.suffix in {".service", ".target", ".slice"}:
            text = unit.read_text().replace("/usr/bin/dsgmigd", "/bin/true")
            (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is missing")
        pytest.skip("systemd-analyze is missing")
    return subprocess.run(
        ["systemd-analyze", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "unit", ["dsgmigd@1.service", "dsgmigd@4.service", TARGET, "dsgmigd.slice"]
)
def test_systemd_finds_nothing_wrong(installed: Path, unit: str) -> None:
    result = analyze("verify", "--man=no", str(installed / unit))
    assert (result.returncode, result.stdout) == (0, "")


def test_exposure_is_small(installed: Path) -> None:
    result = analyze("security", "--offline=true", "--no-pager", str(installed / SERVICE))
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert match, result.stdout
    assert float(match[1]) <= GREATEST_EXPOSURE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecStart", "/usr/bin/dsgmigd run --instance %i"),
        ("WatchdogSec", "180"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", "30"),
        ("OOMPolicy", "stop"),
        ("LogRateLimitIntervalSec", "0"),
        ("TasksMax", "256"),
        ("LimitCORE", "0"),
        ("UMask", "0022"),
        ("PartOf", TARGET),
        ("RequiresMountsFor", "/var/spool/dsgmigd"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Slice", "dsgmigd.slice"),
        ("RestrictAddressFamilies", "AF_UNIX"),
        ("SystemCallFilter", "@system-service @mount"),
    ],
)
def test_service_says(key: str, value: str) -> None:
    assert assignments(SERVICE)[key] == [value]


def test_service_starts_after_the_pools_and_stops_before_the_source_is_unmounted() -> None:
    assert assignments(SERVICE)["After"] == [
        "local-fs.target zfs-import.target zfs-mount.service zfs.target zfs-fuse.service",
        "var-repos.mount var-repos-btrsnap.mount",
    ]


def test_failed_check_leaves_the_exit_status_to_the_main_process() -> None:
    """RestartPreventExitStatus= is not asked about ExecStartPre=: it would restart for ever."""
    assert assignments(SERVICE)["ExecStartPre"] == ["-/usr/bin/dsgmigd config check"]


def test_host_sees_what_the_service_mounts() -> None:
    assert not NAMESPACE_DIRECTIVES & assignments(SERVICE).keys()


def test_setuid_files_can_be_carried_over() -> None:
    assert "RestrictSUIDSGID" not in assignments(SERVICE)


def test_device_nodes_of_every_kind_can_be_made() -> None:
    """ProtectClock= implies a list of devices; without these it would be the whole list."""
    assert assignments(SERVICE)["DeviceAllow"] == ["char-misc rwm", "char-* m", "block-* m"]


def test_no_device_can_be_opened_but_those_of_the_kind_that_zfs_is() -> None:
    allowed = [line.split() for line in assignments(SERVICE)["DeviceAllow"]]
    assert [name for name, access in allowed if access != "m"] == ["char-misc"]


@pytest.mark.parametrize(("unit", "share"), [(SERVICE, "50%"), ("dsgmigd.slice", "75%")])
def test_the_host_keeps_memory_for_itself(unit: str, share: str) -> None:
    assert assignments(unit)["MemoryMax"] == [share]


def test_target_brings_up_four_instances() -> None:
    instances = [f"dsgmigd@{number}.service" for number in range(1, 5)]
    assert assignments(TARGET)["Wants"] == [" ".join(instances)]
