"""ZFS datasets by the zfs command: which commands run, how their output is read."""

import pytest

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetChanged,
    TargetExists,
    TargetFull,
    TargetMissing,
)
from dsgmigd.target.dataset import PROPERTY_PREFIX, Snapshot
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs

KEYS = ("request", "verified")


class Sleeper:
    def __init__(self) -> None:
        self.naps: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.naps.append(seconds)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def zfs(commands: FakeZfs, sleeper: Sleeper) -> Zfs:
    return Zfs(commands, native=commands.native, sleep=sleeper)


def test_a_dataset_that_does_not_exist_is_none(zfs: Zfs) -> None:
    assert zfs.read("zsd/SV", KEYS) is None
    assert zfs.read("tank", KEYS) is None


def test_a_new_dataset_is_mounted_and_empty(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {"atime": "off"}, {"request": "r1"})
    dataset = zfs.read("zsd/SV", KEYS)
    assert dataset is not None
    assert (dataset.name, dataset.origin, dataset.is_mounted) == ("zsd/SV", None, True)
    assert dataset.mountpoint == str(commands.mountpoint("zsd/SV"))
    assert (dataset.properties, dataset.snapshots) == ({"request": "r1"}, ())
    assert commands.properties("zsd/SV") == {"atime": "off", PROPERTY_PREFIX + "request": "r1"}


def test_snapshots_come_in_the_order_in_which_they_were_made(zfs: Zfs) -> None:
    zfs.create("zsd/SV", {}, {})
    for name in ("s2", "s10", "s1"):
        zfs.snapshot(f"zsd/SV@{name}", {"verified": name})
    dataset = zfs.read("zsd/SV", KEYS)
    assert dataset is not None
    first = dataset.snapshots[0].created_at
    assert [(one.name, one.created_at, one.properties) for one in dataset.snapshots] == [
        (name, first + later, {"verified": name}) for later, name in enumerate(("s2", "s10", "s1"))
    ]
    assert len({dataset.guid, *(one.guid for one in dataset.snapshots)}) == 4


def test_a_snapshot_has_no_property_that_only_its_dataset_or_parent_has(zfs: Zfs) -> None:
    zfs.create("zsd/a", {}, {"request": "above"})
    zfs.create("zsd/a/SV", {}, {"verified": "dataset"})
    zfs.snapshot("zsd/a/SV@s1", {})
    dataset = zfs.read("zsd/a/SV", KEYS)
    assert dataset is not None
    assert dataset.properties == {"verified": "dataset"}
    assert dataset.snapshots[0].properties == {}


def test_a_child_dataset_is_not_read_as_a_snapshot(zfs: Zfs) -> None:
    zfs.create("zsd/a", {}, {})
    zfs.create("zsd/a/s1", {}, {})
    dataset = zfs.read("zsd/a", KEYS)
    assert dataset is not None
    assert dataset.snapshots == ()
    assert zfs.children("zsd/a") == ("zsd/a/s1",)
    assert zfs.children("zsd/a/s1") == ()


@pytest.mark.parametrize("text", ["/a b", "/a\tb\tc\td", "/a\n\nb\n", "/\u2028\x85é", "/\udce9"])
def test_a_mountpoint_may_be_any_text(zfs: Zfs, commands: FakeZfs, text: str) -> None:
    zfs.create("zsd/SV", {}, {"request": "r1"})
    zfs.snapshot("zsd/SV@s1", {})
    commands.properties("zsd/SV")["mountpoint"] = text
    dataset = zfs.read("zsd/SV", KEYS)
    assert dataset is not None
    assert (dataset.mountpoint, dataset.properties) == (text, {"request": "r1"})
    assert [one.name for one in dataset.snapshots] == ["s1"]


def test_properties_of_a_received_snapshot_count_as_its_own() -> None:
    name = "zsd/SV@s1"
    lines = [("type", "-", "snapshot"), ("creation", "-", "7"), ("origin", "-", "-")]
    lines += [(key, "-", "-") for key in ("guid", "mounted", "mountpoint", "readonly")]
    lines += [(PROPERTY_PREFIX + "verified", "received", "complete")]
    lines += [(PROPERTY_PREFIX + "request", "inherited from zsd", "r")]

    class Canned:
        def output(
            self,
            *argv: str,
            timeout_seconds: float = 120,
            keep_descriptors: tuple[int, ...] = (),
        ) -> str:
            assert timeout_seconds
            assert not keep_descriptors
            parent = [line for line in lines if ":" not in line[0]]
            rows = [(argv[-1], *row) for row in parent] + [(name, *row) for row in lines]
            return "".join("\t".join(row) + "\n" for row in rows)

    dataset = Zfs(Canned()).read("zsd/SV", KEYS)
    assert dataset is not None
    assert dataset.snapshots == (Snapshot("s1", 7, {"verified": "complete"}, "-"),)


def test_a_clone_has_its_origin_until_it_is_promoted(zfs: Zfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.snapshot("zsd/SV@s1", {"verified": "complete"})
    zfs.clone("zsd/SV@s1", "zsd/view", {"readonly": "on"}, {"request": "r"})
    clone = zfs.read("zsd/view", KEYS)
    assert clone is not None
    assert (clone.origin, clone.snapshots) == ("zsd/SV@s1", ())
    zfs.promote("zsd/view")
    clone, old = zfs.read("zsd/view", KEYS), zfs.read("zsd/SV", KEYS)
    assert clone is not None
    assert old is not None
    assert (clone.origin, [one.name for one in clone.snapshots]) == (None, ["s1"])
    assert clone.snapshots[0].properties == {"verified": "complete"}
    assert (old.origin, old.snapshots) == ("zsd/view@s1", ())


def test_a_rollback_brings_the_files_back(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {}, {})
    file = commands.mountpoint("zsd/SV") / "file"
    file.write_text("before")
    zfs.snapshot("zsd/SV@s1", {})
    file.write_text("after")
    (file.parent / "new").touch()
    zfs.rollback("zsd/SV@s1")
    assert file.read_text() == "before"
    assert not (file.parent / "new").exists()


def test_a_property_is_set_under_the_prefix(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.set_property("zsd/SV", "request", "a=b c")
    assert commands.properties("zsd/SV") == {"org.hrdag.dsgmigd:request": "a=b c"}


def test_free_space_is_a_number_of_bytes(zfs: Zfs, commands: FakeZfs) -> None:
    commands.available = 123
    assert zfs.available_bytes("zsd") == 123


def test_mounting_twice_and_unmounting_twice_are_no_errors(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.mount("zsd/SV")
    zfs.unmount("zsd/SV")
    zfs.unmount("zsd/SV")
    assert not commands.datasets["zsd/SV"].is_mounted
    zfs.mount("zsd/SV")
    assert commands.datasets["zsd/SV"].is_mounted


def test_a_dataset_that_cannot_be_mounted_is_an_error(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.unmount("zsd/SV")
    commands.properties("zsd/SV")["mountpoint"] = "legacy"
    with pytest.raises(CommandFailed, match="legacy mountpoint"):
        zfs.mount("zsd/SV")
    with pytest.raises(TargetMissing):
        zfs.mount("zsd/none")
    with pytest.raises(TargetMissing):
        zfs.unmount("zsd/none")


@pytest.mark.parametrize("action", ["rollback", "destroy", "rename", "unmount"])
def test_a_dataset_that_is_busy_is_tried_again_with_growing_pauses(
    zfs: Zfs, commands: FakeZfs, sleeper: Sleeper, action: str
) -> None:
    prepare_busy(zfs, commands, action, times=3)
    act(zfs, action)
    assert sleeper.naps == [0.01, 0.02, 0.04]


@pytest.mark.parametrize("action", ["rollback", "destroy", "rename", "unmount"])
def test_a_dataset_that_stays_busy_is_an_error_with_a_hint(
    zfs: Zfs, commands: FakeZfs, sleeper: Sleeper, action: str
) -> None:
    prepare_busy(zfs, commands, action, times=99)
    with pytest.raises(TargetBusy, match="is busy") as caught:
        act(zfs, action)
    assert "fuser" in caught.value.hint
    assert len(sleeper.naps) == 11
    assert sum(sleeper.naps) < 30


def prepare_busy(zfs: Zfs, commands: FakeZfs, action: str, *, times: int) -> None:
    zfs.create("zsd/SV", {}, {})
    if action == "rollback":
        zfs.snapshot("zsd/SV@s1", {})
    if action == "rename":
        zfs.unmount("zsd/SV")
    commands.busy["zsd/SV@s1" if action == "rollback" else "zsd/SV"] = times


def act(zfs: Zfs, action: str) -> None:
    match action:
        case "rollback":
            zfs.rollback("zsd/SV@s1")
        case "destroy":
            zfs.destroy("zsd/SV")
        case "rename":
            zfs.rename("zsd/SV", "zsd/other")
        case _:
            zfs.unmount("zsd/SV")


class FailingRollback:
    """A zfs command whose rollback fails a number of times."""

    def __init__(self, words: str, times: int) -> None:
        self.words = words
        self.left = times

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 1,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        assert timeout_seconds
        assert not keep_descriptors
        if not self.left:
            return ""
        self.left -= 1
        raise CommandFailed(argv, status=1, stderr=f"cannot rollback 'zsd/SV': {self.words}")


def test_an_input_error_of_a_rollback_just_after_an_unmount_is_tried_again(
    sleeper: Sleeper,
) -> None:
    Zfs(FailingRollback("I/O error", 2), sleep=sleeper).rollback("zsd/SV@s1")
    assert len(sleeper.naps) == 2


@pytest.mark.parametrize(
    ("words", "kind"), [("I/O error", TargetBusy), ("out of luck", CommandFailed)]
)
def test_a_rollback_that_keeps_failing_is_an_error(
    sleeper: Sleeper, words: str, kind: type[DsgmigdError]
) -> None:
    with pytest.raises(kind, match=words):
        Zfs(FailingRollback(words, 99), sleep=sleeper).rollback("zsd/SV@s1")


def test_a_dataset_that_two_instances_create_at_once_is_mounted_for_both(
    commands: FakeZfs, sleeper: Sleeper
) -> None:
    class Overtaken:
        """A zfs command whose new dataset is mounted by another instance first."""

        def output(
            self,
            *argv: str,
            timeout_seconds: float = 1,
            keep_descriptors: tuple[int, ...] = (),
        ) -> str:
            assert timeout_seconds
            assert not keep_descriptors or argv[1] == "create"
            output = commands.output(*argv)
            if argv[1] == "create":
                words = "cannot mount '/zsd/area': failed to create mountpoint: File exists\n"
                raise CommandFailed(argv, status=1, stderr=words)
            return output

    Zfs(Overtaken(), sleep=sleeper).ensure_mounted("zsd/area", {})
    assert (commands.names(), len(sleeper.naps)) == (["zsd", "zsd/area"], 1)


def test_a_dataset_that_exists_is_not_created_again(zfs: Zfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.create("zsd/other", {}, {})
    zfs.snapshot("zsd/SV@s1", {})
    zfs.unmount("zsd/other")
    with pytest.raises(TargetExists, match="already exists"):
        zfs.create("zsd/SV", {}, {})
    with pytest.raises(TargetExists, match="already exists"):
        zfs.snapshot("zsd/SV@s1", {})
    with pytest.raises(TargetExists, match="already exists"):
        zfs.clone("zsd/SV@s1", "zsd/other", {}, {})
    with pytest.raises(TargetExists, match="already exists"):
        zfs.rename("zsd/other", "zsd/SV")


def test_a_missing_parent_is_an_error(zfs: Zfs) -> None:
    with pytest.raises(TargetMissing, match="parent does not exist"):
        zfs.create("zsd/a/b", {}, {})
    with pytest.raises(TargetMissing, match="dataset does not exist"):
        zfs.destroy("zsd/a@s1")


def test_a_full_pool_has_an_error_of_its_own(zfs: Zfs, commands: FakeZfs) -> None:
    commands.full.add("zsd")
    with pytest.raises(TargetFull, match="out of space"):
        zfs.create("zsd/SV", {}, {})


def test_a_hold_that_keeps_a_snapshot_is_named_with_what_removes_it(
    zfs: Zfs, commands: FakeZfs, sleeper: Sleeper
) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.snapshot("zsd/SV@s4", {})
    commands.output("zfs", "hold", "backup", "zsd/SV@s4")
    with pytest.raises(TargetBusy, match="a hold keeps zsd/SV@s4") as caught:
        zfs.destroy("zsd/SV@s4")
    assert "zfs holds zsd/SV@s4" in caught.value.hint
    assert "zfs release TAG zsd/SV@s4" in caught.value.hint
    assert sleeper.naps == [], "a hold does not pass in seconds"


def test_a_busy_snapshot_without_a_hold_keeps_the_message_of_zfs(
    zfs: Zfs, commands: FakeZfs
) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.snapshot("zsd/SV@s4", {})
    commands.busy["zsd/SV@s4"] = 99
    with pytest.raises(TargetBusy, match="cannot destroy 'zsd/SV@s4': dataset is busy"):
        zfs.destroy("zsd/SV@s4")


def test_a_dataset_with_dependents_is_not_destroyed(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {}, {})
    zfs.snapshot("zsd/SV@s1", {})
    zfs.clone("zsd/SV@s1", "zsd/clone", {}, {})
    with pytest.raises(TargetBusy, match="dependent clones"):
        zfs.destroy("zsd/SV@s1")
    with pytest.raises(TargetChanged, match="has children"):
        zfs.destroy("zsd/SV")
    assert commands.names() == ["zsd", "zsd/SV", "zsd/SV@s1", "zsd/clone"]


def test_snapshots_are_destroyed_together_or_the_one_that_cannot_is_named(
    zfs: Zfs, commands: FakeZfs
) -> None:
    zfs.create("zsd/SV", {}, {})
    names = [f"zsd/SV@s{number}" for number in (1, 2, 3)]
    for name in names:
        zfs.snapshot(name, {})
    commands.output("zfs", "hold", "tag", "zsd/SV@s2")
    with pytest.raises(TargetBusy, match="a hold keeps zsd/SV@s2"):
        zfs.destroy_snapshots(names)
    commands.datasets["zsd/SV"].snapshots[-2].holds.clear()
    zfs.destroy_snapshots([name for name in names if name in commands.names()])
    zfs.destroy_snapshots([])
    assert commands.datasets["zsd/SV"].snapshots == []


def test_a_look_needs_no_program_where_the_kernel_tells_what_exists(
    zfs: Zfs, commands: FakeZfs
) -> None:
    zfs.create("zsd/SV", {}, {})
    before = len(commands.calls)
    assert (zfs.exists("zsd/SV"), zfs.exists("zsd/none")) == (True, False)
    assert zfs.read("zsd/none", ()) is None
    assert (len(commands.calls) == before) == (commands.native is not None)


def test_a_look_that_the_kernel_does_not_answer_is_one_by_the_command(
    zfs: Zfs, commands: FakeZfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.fake_native.core, "exists", lambda _: None)
    assert (zfs.exists("zsd"), zfs.exists("zsd/none")) == (True, False)
    assert zfs.read("zsd/none", ()) is None


def test_several_datasets_are_looked_at_by_one_command(zfs: Zfs, commands: FakeZfs) -> None:
    zfs.create("zsd/SV", {"atime": "off"}, {})
    before = len(commands.calls)
    found = zfs.look_at(["zsd", "zsd/SV"], ("mounted", "atime"))
    assert found["zsd"] == {"mounted": ("yes", "-"), "atime": ("on", "default")}
    assert found["zsd/SV"] == {"mounted": ("yes", "-"), "atime": ("off", "local")}
    assert len(commands.calls) == before + 1
    with pytest.raises(TargetMissing):
        zfs.look_at(["zsd", "zsd/none"], ("mounted",))
