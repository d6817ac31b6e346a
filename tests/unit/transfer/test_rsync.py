"""How rsync is called, and what it copies."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import CommandFailed, HostExhausted, TargetFull
from dsgmigd.host.command import Commands
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.rsync import Rsync
from tests.unit.failing import failing
from tests.unit.transfer.replay_world import tree_of

needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")


class Recorded(Commands):
    """Records the command in place of running it; with `stderr` it fails."""

    def __init__(self, stderr: str | None = None) -> None:
        super().__init__()
        self.argv: tuple[str, ...] = ()
        self._stderr = stderr

    def long_run(self, *argv: str, checkpoint: Callable[[], None]) -> None:
        """Record the command."""
        checkpoint()
        self.argv = argv
        if self._stderr is not None:
            raise CommandFailed(argv, status=11, stderr=self._stderr)


def mirrored(**capabilities: Any) -> tuple[str, ...]:
    commands = Recorded()
    Rsync(commands, Capabilities(**capabilities), lambda: None).mirror("/source", "/target")
    return commands.argv


def test_only_what_the_target_can_hold_is_requested() -> None:
    assert {"-A", "-X", "--modify-window=-1"} <= set(mirrored())
    lesser = mirrored(acls=False, xattrs=False, subsecond_mtime=False)
    assert not {"-A", "-X", "--modify-window=-1"} & set(lesser)


def test_the_times_may_be_left_to_the_caller() -> None:
    assert "--no-times" not in mirrored()
    commands = Recorded()
    Rsync(commands, Capabilities(), lambda: None, sets_times=False).mirror("/s", "/t")
    assert "--no-times" in commands.argv


def test_a_mirror_leaves_the_metadata_of_dsg_alone() -> None:
    assert {"--delete", "--exclude=/.dsg", "--exclude=/.snap"} <= set(mirrored())
    assert mirrored()[-2:] == ("/source/", "/target/")


@pytest.mark.parametrize("words", ["rsync: write: No space left on device (28)", "quota exceeded"])
def test_a_full_target_is_an_error_of_its_own(words: str) -> None:
    with pytest.raises(TargetFull, match="the target is full"):
        Rsync(Recorded(words), Capabilities(), lambda: None).mirror("/source", "/target")


def test_any_other_failure_stays_what_it_is() -> None:
    with pytest.raises(CommandFailed, match="something else"):
        Rsync(Recorded("something else"), Capabilities(), lambda: None).mirror("/s", "/t")


def test_a_host_without_temporary_files_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.NamedTemporaryFile", failing(errno.ENOSPC))
    with pytest.raises(HostExhausted, match="cannot create a temporary file"):
        Rsync(Recorded(), Capabilities(), lambda: None).copy_paths([b"a"], "/source", "/target")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    for name in (".snap", "d/e", "new\nline"):
        (source / name).mkdir(parents=True)
    (source / ".snap/push.log").write_text("excluded")
    (source / "d/e/f").write_text("f")
    (source / "d/g").write_text("g")
    target.mkdir()
    (target / ".dsg").mkdir()
    (target / "old").write_text("old")
    return source, target


PLAIN = Capabilities(acls=False, xattrs=False)


@needs_rsync
def test_a_mirror_equals_the_source_without_what_is_excluded(sides: tuple[Path, Path]) -> None:
    source, target = sides
    Rsync(Commands(), PLAIN, lambda: None).mirror(str(source), str(target))
    assert tree_of(target) == {
        ".dsg": None,
        "d": None,
        "d/e": None,
        "new\nline": None,
        "d/e/f": b"f",
        "d/g": b"g",
    }


@needs_rsync
def test_given_paths_are_copied_with_everything_below_them_and_nothing_else(
    sides: tuple[Path, Path],
) -> None:
    source, target = sides
    paths = [b"d/e", os.fsencode("new\nline")]
    Rsync(Commands(), PLAIN, lambda: None).copy_paths(paths, str(source), str(target))
    assert set(tree_of(target)) == {".dsg", "old", "d", "d/e", "d/e/f", "new\nline"}


@needs_rsync
def test_a_file_with_other_contents_but_the_same_size_and_time_is_copied(
    sides: tuple[Path, Path],
) -> None:
    source, target = sides
    for side, content in ((source, "new"), (target, "old")):
        (side / "x").write_text(content)
        os.utime(side / "x", (1, 1))
    Rsync(Commands(), PLAIN, lambda: None).mirror(str(source), str(target))
    assert (target / "x").read_text() == "new"


@needs_rsync
def test_given_paths_may_have_any_name(sides: tuple[Path, Path]) -> None:
    source, target = sides
    names = [b"#a", b";b", b"-c", b" d ", b"e\r", b"\xff", b"*", b"[x]", b"a:b", b"~", b"#d/#f"]
    (source / "#d").mkdir()
    for name in names:
        (source / os.fsdecode(name)).touch()
    Rsync(Commands(), PLAIN, lambda: None).copy_paths(names, str(source), str(target))
    assert {os.fsencode(name) for name in tree_of(target)} == {*names, b"#d", b".dsg", b"old"}
