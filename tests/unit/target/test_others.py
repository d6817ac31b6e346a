"""What others did in a published dataset, and what may move aside with it."""

import os
import time

import pytest

from dsgmigd.errors import TargetInUse
from dsgmigd.names import SnapshotName
from dsgmigd.target import others
from dsgmigd.target.mounts import Mount
from dsgmigd.target.others import Others, find_others
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import mounted_root, publish_series

S1 = SnapshotName(1)


class Target:
    """The published dataset zsd/SV, whose snapshot s1 was made long before anything below."""

    def __init__(
        self, commands: FakeZfs, staging: Staging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._staging = staging
        self.commands = commands
        publish_series(staging, S1)
        self.root = mounted_root(staging)
        self.mounts = [self.mount(os.stat(self.root).st_dev)]
        monkeypatch.setattr(others, "zfs_mounts", lambda: self.mounts)
        self.created_at = int(time.time()) + 1  # nothing that was there before counts

    def mount(self, device: int) -> Mount:
        return Mount("zsd/SV", str(self.root), device, is_fuse=False, is_whole=True)

    def find(self) -> Others:
        dataset = self._staging.read_target()
        assert dataset is not None
        for one in dataset.snapshots:
            object.__setattr__(one, "created_at", self.created_at - 1)
        return find_others(self._staging.zfs, dataset, lambda: None)

    def wait(self) -> None:
        """Let the second end in which the snapshot was made."""
        while time.time() < self.created_at + 0.05:
            time.sleep(0.05)


@pytest.fixture
def target(commands: FakeZfs, staging: Staging, monkeypatch: pytest.MonkeyPatch) -> Target:
    return Target(commands, staging, monkeypatch)


def test_what_nobody_touched_has_nothing_of_others(target: Target) -> None:
    target.wait()
    assert target.find() == Others(last="s1")


def test_changed_and_new_and_deleted_files_are_changes(target: Target) -> None:
    (target.root / "gone").touch()
    (target.root / "dir").mkdir()
    target.wait()
    (target.root / "file").chmod(0o600)
    (target.root / "dir/new").touch()
    (target.root / "gone").unlink()
    assert sorted(target.find().changes) == [".", "dir", "dir/new", "file"]


def test_dsgs_own_directory_is_no_change(target: Target) -> None:
    (target.root / ".dsg").mkdir(exist_ok=True)
    target.wait()
    (target.root / ".dsg/last-sync.json").write_text("{}")
    assert target.find().changes == ()


def test_no_more_changes_are_looked_for_than_are_shown(target: Target) -> None:
    target.wait()
    for number in range(20):
        (target.root / f"f{number}").touch()
    assert len(target.find().changes) == 6


def test_a_path_that_would_control_a_terminal_is_escaped(target: Target) -> None:
    target.wait()
    (target.root / "a\x1b[2J").touch()
    assert all(one.isprintable() for one in target.find().changes)


def test_what_is_mounted_elsewhere_or_hidden_is_not_looked_at(target: Target) -> None:
    target.wait()
    (target.root / "file").chmod(0o600)
    target.mounts = [target.mount(device=1)]
    assert target.find().changes == ()


def test_children_and_later_snapshots_are_named(target: Target) -> None:
    target.commands.output("zfs", "snapshot", "zsd/SV@daily")
    target.commands.output("zfs", "create", "zsd/SV/child")
    target.wait()
    found = target.find()
    assert (found.children, found.snapshots) == (("zsd/SV/child",), ("daily",))


# What may move.


@pytest.mark.parametrize("may_replace", [False, True])
def test_children_may_never_move(*, may_replace: bool) -> None:
    with pytest.raises(TargetInUse, match=r"has child datasets.*: zsd/SV/a, zsd/SV/b") as caught:
        Others(("zsd/SV/a", "zsd/SV/b")).check_may_move("zsd/SV", may_replace=may_replace)
    assert "zfs rename zsd/SV/a" in caught.value.hint


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Others(last="s3", changes=("a", "b")), "changed in zsd/SV since @s3: a, b"),
        (Others(last="s3", is_unknown=True), "was written to since @s3, and is not mounted"),
    ],
)
def test_changes_may_move_only_if_the_dataset_may_be_replaced(found: Others, words: str) -> None:
    with pytest.raises(TargetInUse, match=words) as caught:
        found.check_may_move("zsd/SV", may_replace=False)
    assert "zfs rollback zsd/SV@s3" in caught.value.hint
    assert '"replace": true' in caught.value.hint
    warnings = found.check_may_move("zsd/SV", may_replace=True)
    assert warnings == (
        ["only the replaced dataset has what was changed: a, b"] if found.changes else []
    )


def test_snapshots_of_others_stay_behind_with_a_warning() -> None:
    found = Others(last="s3", snapshots=("daily", "weekly"))
    assert found.check_may_move("zsd/SV", may_replace=False) == [
        "only the replaced dataset has @daily, @weekly"
    ]
    assert Others(last="s3").check_may_move("zsd/SV", may_replace=False) == []
