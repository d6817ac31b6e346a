"""Damage to a live `.dsg/`, and its repair, on a zfs that keeps its pool in memory."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsgmigd.errors import MetadataDamaged, TargetChanged, TargetFull, TargetMissing
from dsgmigd.maintenance import repair as repair_module
from dsgmigd.maintenance.newest_snapshot import newest_snapshot
from dsgmigd.maintenance.repair import Repair, repair_metadata
from dsgmigd.names import parse_dataset_name, parse_repo_name
from dsgmigd.target.layout import DatasetLayout
from tests.unit.dsg_series import write_series
from tests.unit.fake_zfs import FakeZfs
from tests.unit.host.test_durable import described

PLACES = DatasetLayout(parse_dataset_name("zsd"), "zsd/.dsgmigd", parse_repo_name("SV"))
Damage = Callable[[Path], object]
NO_TAGS = '{"metadata_version":"0.1.0","tags":[]}'


@dataclass
class Published:
    """The dataset SV with three snapshots."""

    commands: FakeZfs

    @property
    def live(self) -> Path:
        return self.commands.mountpoint("zsd/SV") / ".dsg"

    def repair(self, *, is_dry_run: bool = False) -> Repair:
        with newest_snapshot(self.commands, PLACES) as newest:
            return repair_metadata(newest, is_dry_run=is_dry_run)

    def found(self) -> list[tuple[str, str, str]]:
        differences = self.repair(is_dry_run=True).differences
        return [(os.fsdecode(one.path), one.what, one.detail) for one in differences]


@pytest.fixture
def published(tmp_path: Path) -> Published:
    commands = FakeZfs(tmp_path)
    commands.output("zfs", "create", "zsd/SV")
    root = commands.mountpoint("zsd/SV")
    (root / "a").write_text("not looked at")
    write_series(root, {"a": "1"}, {"a": "2"}, {"a": "3"})
    (root / ".dsg" / "tag-messages.json").write_text(NO_TAGS)
    commands.output("zfs", "snapshot", "zsd/SV@s3")
    return Published(commands)


def replace_by(path: str, make: Damage) -> Damage:
    """Return what puts something else where `path` is."""

    def damage(live: Path) -> None:
        whole = live / path
        shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
        make(whole)

    return damage


def flip_in_place(path: str) -> Damage:
    """Return what changes a file without a trace in its status."""

    def damage(live: Path) -> None:
        times = (live / path).stat()
        content = bytearray((live / path).read_bytes())
        content[-3] ^= 1
        (live / path).write_bytes(content)
        os.utime(live / path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return damage


def put_extra_directory(live: Path) -> None:
    (live / "cache" / "deep").mkdir(parents=True)
    (live / "cache" / "deep" / "file").write_text("kept")


ARCHIVE = "archive/s1-sync.json.lz4"
DAMAGES: dict[str, tuple[Damage, list[tuple[str, str, str]], list[str]]] = {
    "a missing manifest": (
        lambda live: (live / "last-sync.json").unlink(),
        [(".dsg/last-sync.json", "missing", "")],
        [],
    ),
    "lost tags": (
        lambda live: (live / "tag-messages.json").write_text(""),
        [(".dsg/tag-messages.json", "changed", f"0 bytes instead of {len(NO_TAGS)}")],
        ["tag-messages.json"],
    ),
    "a truncated archive": (
        lambda live: (live / ARCHIVE).write_bytes(b"12345"),
        [(f".dsg/{ARCHIVE}", "changed", "5 bytes instead of SIZE")],
        [ARCHIVE],
    ),
    "a flipped bit": (
        flip_in_place("sync-messages.json"),
        [(".dsg/sync-messages.json", "changed", "other content")],
        ["sync-messages.json"],
    ),
    "an extra file": (
        lambda live: (live / "archive" / "s3-sync.json.lz4").write_bytes(b"too early"),
        [(".dsg/archive/s3-sync.json.lz4", "extra", "a file")],
        ["archive/s3-sync.json.lz4"],
    ),
    "a leftover of an interrupted repair": (
        lambda live: (live / "last-sync.json.dsgmigd").write_bytes(b"half"),
        [(".dsg/last-sync.json.dsgmigd", "extra", "a file")],
        ["last-sync.json.dsgmigd"],
    ),
    "an extra directory": (
        put_extra_directory,
        [(".dsg/cache", "extra", "a directory")],
        ["cache/deep/file"],
    ),
    "another mode": (
        lambda live: (live / "last-sync.json").chmod(0o600),
        [(".dsg/last-sync.json", "changed", "mode 0600 instead of 0644")],
        ["last-sync.json"],
    ),
    "another mode of a directory": (
        lambda live: (live / "archive").chmod(0o700),
        [(".dsg/archive", "changed", "mode 0700 instead of 0755")],
        [],
    ),
    "a pipe for a file": (
        replace_by("last-sync.json", os.mkfifo),
        [(".dsg/last-sync.json", "changed", "a special file instead of a file")],
        ["last-sync.json"],
    ),
    "a directory for a file": (
        replace_by("last-sync.json", put_extra_directory),
        [(".dsg/last-sync.json", "changed", "a directory instead of a file")],
        ["last-sync.json/cache/deep/file"],
    ),
    "a file for a directory": (
        replace_by("archive", Path.touch),
        [
            (".dsg/archive", "changed", "a file instead of a directory"),
            (f".dsg/{ARCHIVE}", "missing", ""),
            (".dsg/archive/s2-sync.json.lz4", "missing", ""),
        ],
        ["archive"],
    ),
    "a missing archive directory": (
        lambda live: shutil.rmtree(live / "archive"),
        [
            (".dsg/archive", "missing", ""),
            (f".dsg/{ARCHIVE}", "missing", ""),
            (".dsg/archive/s2-sync.json.lz4", "missing", ""),
        ],
        [],
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_and_repaired_and_the_damaged_files_are_kept(
    published: Published, kind: str
) -> None:
    damage, expected, kept = DAMAGES[kind]
    size = (published.live / ARCHIVE).stat().st_size
    whole = described(published.live.parent)
    damage(published.live)
    damaged = described(published.live)
    found = [(path, what, how.replace(str(size), "SIZE")) for path, what, how in published.found()]
    assert found == expected
    assert described(published.live) == damaged, "a dry run touches nothing"
    done = published.repair()
    assert [os.fsdecode(one.path) for one in done.differences] == [one[0] for one in expected]
    assert without_directory_times(described(published.live.parent)) == without_directory_times(
        whole
    )
    assert published.found() == []
    assert (done.kept is not None) == bool(kept)
    for path in kept:
        assert described(Path(done.kept or "") / ".dsg" / path)["."] == damaged[path]


def without_directory_times(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Return a description without what a changed name changes."""
    return {
        path: one[:4] if isinstance(one[0], int) and one[0] & 0o40000 else one
        for path, one in tree.items()
    }


def test_a_link_for_dsg_itself_is_kept_and_not_followed(
    published: Published, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    whole = described(published.live)
    published.live.rename(elsewhere)
    published.live.symlink_to(elsewhere)
    before = described(elsewhere)
    done = published.repair()
    assert done.differences[0].detail == "a symbolic link instead of a directory"
    assert described(elsewhere) == before
    assert not published.live.is_symlink()
    assert without_directory_times(described(published.live)) == without_directory_times(whole)
    assert os.readlink(Path(done.kept or "") / ".dsg") == str(elsewhere)


def test_undamaged_metadata_is_left_alone(published: Published) -> None:
    before = (published.live / "last-sync.json").stat()
    assert published.repair() == Repair((), None)
    assert (published.live / "last-sync.json").stat() == before
    replaced = published.commands.mountpoint("zsd/.dsgmigd/replaced")
    assert os.listdir(replaced) == []


def test_kept_files_are_for_root_only_in_a_directory_named_after_the_repository(
    published: Published,
) -> None:
    (published.live / "extra").touch()
    kept = published.repair().kept or ""
    assert os.path.basename(kept).startswith("SV:dsg-20")
    assert os.stat(kept).st_mode & 0o777 == 0o700
    assert os.path.dirname(kept) == str(published.commands.mountpoint("zsd/.dsgmigd/replaced"))


def test_nothing_is_restored_from_a_damaged_snapshot(published: Published) -> None:
    (published.live / ARCHIVE).write_bytes(b"")
    published.commands.output("zfs", "snapshot", "zsd/SV@s4")
    with pytest.raises(MetadataDamaged):
        published.repair()
    assert (published.live / ARCHIVE).read_bytes() == b""


def test_a_broken_chain_in_the_snapshot_is_damage(published: Published) -> None:
    for name in ("last-sync.json", "sync-messages.json"):
        path = published.live / name
        content = path.read_bytes().replace(
            b'"snapshot_message":"message 3"', b'"snapshot_message":"m"'
        )
        path.write_bytes(content)
    published.commands.output("zfs", "destroy", "zsd/SV@s3")
    published.commands.output("zfs", "snapshot", "zsd/SV@s3")
    with pytest.raises(MetadataDamaged, match="chain"):
        published.repair()


def test_a_dataset_that_is_not_mounted_is_an_error(published: Published) -> None:
    published.commands.output("zfs", "unmount", "zsd/SV")
    with pytest.raises(TargetMissing, match="zsd/SV is not mounted"):
        published.repair()


def test_when_nothing_can_be_kept_nothing_is_changed(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (published.live / "last-sync.json").write_text("changed")
    (published.live / "extra").touch()
    before = described(published.live)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(repair_module, "copy_durably", fail)
    with pytest.raises(TargetFull):
        published.repair()
    assert described(published.live) == before
    assert os.listdir(published.commands.mountpoint("zsd/.dsgmigd/replaced")) == []


@dataclass
class Failing:
    """Calls of the kernel, the one with number `at` of which is not made."""

    at: int
    calls: int = 0

    def __call__(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return call


EFFECTS = ("chown", "fchmod", "fchown", "fsync", "mkdir", "rename", "rmdir", "unlink")


def test_a_repair_that_is_interrupted_at_any_point_loses_nothing_and_is_completed_by_the_next(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = without_directory_times(described(published.live))
    interruptions = 0
    with newest_snapshot(published.commands, PLACES) as newest:
        replaced = published.commands.mountpoint("zsd/.dsgmigd/replaced")
        while True:
            for path in ("last-sync.json", ARCHIVE):
                (published.live / path).write_text("changed")
            put_extra_directory(published.live)
            failing = Failing(interruptions + 1)
            with monkeypatch.context() as patch:
                for name in EFFECTS:
                    patch.setattr(os, name, failing(getattr(os, name)))
                with contextlib.suppress(KeyboardInterrupt):
                    repair_metadata(newest, is_dry_run=False)
            repair_metadata(newest, is_dry_run=False)
            assert without_directory_times(described(published.live)) == whole
            for path in ("last-sync.json", ARCHIVE, "cache/deep/file"):
                kept = {one.read_text() for one in replaced.glob(f"*/.dsg/{path}")}
                assert kept & {"changed", "kept"}, path
            if failing.calls < failing.at:
                break
            interruptions += 1
            shutil.rmtree(replaced)
            replaced.mkdir()
    assert interruptions > 20


def test_a_client_that_writes_meanwhile_is_noticed(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (published.live / "last-sync.json").unlink()
    real = repair_module.restore

    def restore_then_write(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        (published.live / "last-sync.json").write_text("by a client")

    monkeypatch.setattr(repair_module, "restore", restore_then_write)
    with pytest.raises(TargetChanged, match="changed while"):
        published.repair()


def test_a_file_too_large_for_any_document_is_not_copied_but_named(published: Published) -> None:
    """A sparse file costs its owner nothing; its copy would fill the pool."""
    (published.live / "archive" / "more").touch()
    os.truncate(published.live / "archive" / "more", 2**35)
    with pytest.raises(TargetChanged, match=r"'\.dsg/archive/more' has 34359738368 bytes"):
        published.repair()
    assert (published.live / "archive" / "more").exists()
