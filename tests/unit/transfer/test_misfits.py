"""What is removed from staging before rsync, and the times that are set after it."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import InterruptedByStop, SourceUnreadable, TargetUnwritable
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer import nested_subvolumes
from dsgmigd.transfer.misfits import remove_misfits, set_held_times
from dsgmigd.transfer.rsync import Rsync
from tests.unit.failing import failing

needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
PLAIN = Capabilities(acls=False, xattrs=False)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    source, staging = tmp_path / "source", tmp_path / "staging"
    source.mkdir()
    staging.mkdir()
    return source, staging


def remove(sides: tuple[Path, Path], checkpoint: Callable[[], None] = lambda: None) -> set[str]:
    """Remove the misfits, and return the names that staging has then."""
    with Directories(str(sides[0])) as source, Directories(str(sides[1])) as staging:
        remove_misfits(source, staging, checkpoint)
    return set(os.listdir(sides[1]))


def link(directory: Path, *names: str) -> None:
    """Make one file with these names."""
    (directory / names[0]).write_text(names[0])
    for name in names[1:]:
        (directory / name).hardlink_to(directory / names[0])


def test_names_that_are_one_file_only_in_staging_are_removed(sides: tuple[Path, Path]) -> None:
    source, staging = sides
    link(staging, "a", "b", "c")
    link(source, "a", "b")
    link(source, "c")
    assert remove(sides) == set()


def test_a_directory_that_became_a_nested_subvolume_is_removed_unless_it_is_empty(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, staging = sides
    (source / "nested").mkdir()
    number = (source / "nested").stat().st_ino
    monkeypatch.setattr(nested_subvolumes, "EMPTY_SUBVOL_DIR_OBJECTID", number)
    (staging / "nested/d").mkdir(parents=True)
    assert remove(sides) == set()
    (staging / "nested").mkdir()
    assert remove(sides) == {"nested"}


def test_names_that_are_one_file_on_both_sides_stay(sides: tuple[Path, Path]) -> None:
    source, staging = sides
    link(staging, "a", "b", "only here")
    link(source, "a", "b", "new")
    assert remove(sides) == {"a", "b", "only here"}


@pytest.mark.parametrize("wanted", ["directory", "file", "link", "pipe"])
@pytest.mark.parametrize("found", ["directory", "file", "link", "pipe"])
def test_what_has_another_type_in_the_source_is_removed(
    sides: tuple[Path, Path], wanted: str, found: str
) -> None:
    for side, kind in zip(sides, (wanted, found), strict=True):
        path = side / "x"
        if kind == "directory":
            path.mkdir()
            (path / "below").touch()
        elif kind == "file":
            path.touch()
        elif kind == "link":
            path.symlink_to("somewhere")
        else:
            os.mkfifo(path)
    assert remove(sides) == ({"x"} if wanted == found else set())


def test_metadata_and_what_is_excluded_are_not_looked_at(sides: tuple[Path, Path]) -> None:
    source, staging = sides
    for name in (".dsg", ".snap", "HEAD"):
        (source / name).mkdir()
        (staging / name).touch()
    assert remove(sides) == {".dsg", ".snap", "HEAD"}


def test_a_failing_source_and_a_failing_target_are_told_apart(
    sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, staging = sides
    (source / "x").touch()
    (staging / "x").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Directories, "names", failing(5))
        with pytest.raises(SourceUnreadable, match="listing"):
            remove(sides)
    monkeypatch.setattr(os, "rmdir", failing(5))
    with pytest.raises(TargetUnwritable, match="removing 'x'"):
        remove(sides)


def test_the_checkpoint_may_stop_the_search(sides: tuple[Path, Path]) -> None:
    def stop() -> None:
        raise InterruptedByStop

    with pytest.raises(InterruptedByStop):
        remove(sides, stop)


@needs_rsync
def test_rsync_carries_every_change_of_hard_links(sides: tuple[Path, Path]) -> None:
    """Links are parted, joined and exchanged; one of those that are parted has another mode."""
    source, staging = sides
    link(staging, "a", "b")
    link(staging, "c", "d")
    link(staging, "e")
    link(staging, "f")
    link(source, "a", "c")
    link(source, "e", "f")
    for name in ("b", "d"):
        shutil.copy2(staging / name, source / name)
    (source / "b").chmod(0o600)
    remove(sides)
    Rsync(Commands(), PLAIN, lambda: None).mirror(str(source), str(staging))
    assert described(staging) == described(source)


def described(root: Path) -> dict[str, tuple[bytes, int, list[str]]]:
    """Return content, mode and all names of every file."""
    paths = sorted(root.iterdir())
    return {
        path.name: (
            path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
            [other.name for other in paths if other.samefile(path)],
        )
        for path in paths
    }


def test_times_are_set_to_the_nearest_that_the_target_holds(sides: tuple[Path, Path]) -> None:
    for side in sides:
        (side / "d/e").mkdir(parents=True)
        (side / "d/e/f").touch()
        (side / "d/l").symlink_to("f")
        (side / "other").touch()
    names = ("d/e/f", "d/e", "d/l", "d", ".")
    for number, name in enumerate(names):
        times = (5, (90 + number) * 10**9)
        os.utime(sides[0] / name, ns=times, follow_symlinks=False)
    os.utime(sides[1] / "other", (7, 7))
    held = Capabilities(latest_mtime=93).held_mtime_ns
    with Directories(str(sides[0])) as source, Directories(str(sides[1])) as staging:
        set_held_times(
            source, staging, [b"d/e", b"d/l"], held_mtime_ns=held, checkpoint=lambda: None
        )
    found = {name: (sides[1] / name).lstat().st_mtime for name in (*names, "other")}
    assert found == {"d/e/f": 90, "d/e": 91, "d/l": 92, "d": 93, ".": 93, "other": 7}
