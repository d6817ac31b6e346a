"""Mounts without the flags that a dataset's properties ask for, in a list of mounts of our own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import TargetUnwritable
from dsgmigd.host.syscalls import MOUNT_NODEV, MOUNT_NOSUID
from dsgmigd.target import mounts
from dsgmigd.target.mount_flags import restrict_mount
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs

WORDS = {MOUNT_NOSUID: "nosuid", MOUNT_NODEV: "nodev"}


class Kernel:
    """The kernel's list of mounts; `refuses` and `ignores` flags that are added."""

    def __init__(self, file: Path, kind: str = "fuse.zfs") -> None:
        self.file = file
        self.kind = kind
        self.refuses = self.ignores = False
        self.show("rw,relatime")

    def show(self, flags: str) -> None:
        self.file.write_text(
            f"30 22 0:300 / /zsd/SV {flags} shared:7 - {self.kind} zsd/SV rw\n"
            f"31 22 0:301 / /zsd/CO rw - {self.kind} zsd/CO rw\n"
            f"32 22 0:300 /part /elsewhere rw - {self.kind} zsd/SV rw\n"
        )

    def add_flags(self, mountpoint: str, flags: int) -> None:
        assert mountpoint == "/zsd/SV"
        if self.refuses:
            raise PermissionError(1, "Operation not permitted")
        if not self.ignores:
            self.show(",".join(["rw", *(word for number, word in WORDS.items() if number & flags)]))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    monkeypatch.setattr(mounts, "_HOST_MOUNTS", str(tmp_path / "host"))
    return Kernel(tmp_path / "mountinfo")


@pytest.fixture
def restrict(commands: FakeZfs, kernel: Kernel) -> Callable[[], str | None]:
    def create_and_restrict() -> str | None:
        zfs = Zfs(commands, sleep=lambda _: None)
        return restrict_mount(zfs, "zsd/SV", add_flags=kernel.add_flags)

    return create_and_restrict


def create(commands: FakeZfs, *options: str) -> None:
    words = [word for option in options for word in ("-o", option)]
    commands.output("zfs", "create", *words, "zsd/SV")


def test_flags_that_are_missing_are_added_and_told_of(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None]
) -> None:
    create(commands, "setuid=off", "devices=off")
    warning = restrict()
    assert warning is not None
    assert "/zsd/SV was remounted with nosuid,nodev" in warning
    assert " rw,nosuid,nodev " in kernel.file.read_text()
    assert restrict() is None


def test_only_what_the_properties_ask_for_is_added(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None]
) -> None:
    create(commands, "setuid=off")
    assert restrict()
    assert " rw,nosuid " in kernel.file.read_text()
    commands.output("zfs", "set", "setuid=on", "zsd/SV")
    kernel.show("rw")
    assert restrict() is None


def test_a_mount_that_has_the_flags_costs_no_command(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None]
) -> None:
    create(commands, "setuid=off", "devices=off")
    kernel.show("rw,nosuid,nodev")
    count = len(commands.calls)
    assert restrict() is None
    assert len(commands.calls) == count


def test_the_kernels_zfs_is_not_blamed(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None]
) -> None:
    create(commands, "setuid=off")
    kernel.kind = "zfs"
    kernel.show("rw,nodev")
    assert restrict() == "/zsd/SV was mounted without nosuid, and was remounted with it"


@pytest.mark.parametrize("how", ["refuses", "ignores"])
def test_what_cannot_be_restricted_is_unmounted(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None], how: str
) -> None:
    create(commands, "setuid=off", "devices=off")
    setattr(kernel, how, True)
    with pytest.raises(TargetUnwritable, match=r"^/zsd/SV was unmounted"):
        restrict()
    assert not commands.datasets["zsd/SV"].is_mounted


def test_what_can_be_neither_restricted_nor_unmounted_is_told_of(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None]
) -> None:
    create(commands, "setuid=off", "devices=off")
    kernel.refuses = True
    commands.busy["zsd/SV"] = 99
    with pytest.raises(TargetUnwritable, match="cannot be unmounted") as caught:
        restrict()
    assert "/zsd/SV is mounted without nosuid,nodev" in caught.value.message


def test_a_copy_of_the_mount_that_the_host_sees_without_flags_is_not_overlooked(
    commands: FakeZfs, kernel: Kernel, restrict: Callable[[], str | None], tmp_path: Path
) -> None:
    """As with zfs-fuse and a worker that has a mount namespace of its own."""
    create(commands, "setuid=off", "devices=off")
    kernel.show("rw,nosuid,nodev")
    (tmp_path / "host").write_text("60 22 0:300 / /zsd/SV rw - fuse.zfs zsd/SV rw\n")
    with pytest.raises(TargetUnwritable, match="/zsd/SV was unmounted"):
        restrict()
    assert not commands.datasets["zsd/SV"].is_mounted
