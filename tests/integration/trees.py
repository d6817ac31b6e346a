"""Small series of snapshots, and rsync as the judge of whether two trees are the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import bed

from tests.integration import zfs_kind

if TYPE_CHECKING:  # the virtual machine makes trees without pytest, which it imports slowly
    from tests.integration.conftest import Bed

Edit = Callable[[Path], object]

EXCLUDED = (".snap", ".zfs", "HEAD", "lost+found", ".Trash-*")
DSG = (".dsg",)


@dataclass
class Series:
    """A repository that grows: each snapshot is one of the snapshot before, edited."""

    directory: Path
    has_push_log: bool = True
    count: int = 0
    log: list[str] = field(default_factory=list)

    def push(self, edit: Edit, *, is_read_only: bool = True) -> Path:
        """Add a snapshot; a plain directory cannot be its origin."""
        tree = self._next()
        if self.count == 1:
            bed.run("btrfs", "subvolume", "create", tree)
        else:
            bed.run("btrfs", "subvolume", "snapshot", self.snapshot(self.count - 1), tree)
        self._edit(tree, edit)
        if is_read_only:
            set_read_only(tree, is_read_only=True)
        return tree

    def push_plain(self, edit: Edit) -> Path:
        """Add a plain directory: a copy of the snapshot before, edited."""
        tree = self._next()
        if self.count == 1:
            tree.mkdir()
        else:
            bed.run("cp", "-a", self.snapshot(self.count - 1), tree)
        self._edit(tree, edit)
        return tree

    def push_copy(self, edit: Edit) -> Path:
        """Add a subvolume with a copy of the snapshot before: nothing is shared."""
        tree = self._next()
        bed.run("btrfs", "subvolume", "create", tree)
        bed.run("cp", "-a", f"{self.snapshot(self.count - 1)}/.", tree)
        self._edit(tree, edit)
        return tree

    def snapshot(self, number: int) -> Path:
        return self.directory / f"s{number}"

    def _next(self) -> Path:
        self.directory.mkdir(exist_ok=True)
        self.count += 1
        return self.snapshot(self.count)

    def _edit(self, tree: Path, edit: Edit) -> None:
        edit(tree)
        if self.has_push_log:
            name = self.directory.name.removesuffix("-norm")
            self.log.append(f"{name}/s{self.count} | ana | 2014-05-07 17:27:26 UTC (Wed) | --\n")
            write(tree / ".snap/push.log", "".join(self.log))


def new_series(made: Bed, repo: str, *edits: Edit, **options: Any) -> Series:
    """Build `repo` with one snapshot for each edit."""
    series = Series(made.source_root / repo, **options)
    for edit in edits:
        series.push(edit)
    return series


def write(path: Path, content: str | bytes = "content\n") -> None:
    """Write a file, and the directories that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def writing(**files: str) -> Edit:
    """Return an edit that writes files; `__` in a keyword is a slash."""

    def edit(tree: Path) -> None:
        for name, content in files.items():
            write(tree / name.replace("__", "/"), content)

    return edit


def filling(name: str, mebibytes: int) -> Edit:
    """Return an edit that writes so much that a worker is busy with it for a while."""

    def edit(tree: Path) -> None:
        with (tree / name).open("wb") as file:
            for at in range(mebibytes):
                file.write(Random(f"{name} {at}").randbytes(1 << 20))  # noqa: S311

    return edit


def moving(old: str, new: str) -> Edit:
    """Return an edit that moves `old` to `new`."""

    def edit(tree: Path) -> None:
        (tree / new).parent.mkdir(parents=True, exist_ok=True)
        (tree / old).rename(tree / new)

    return edit


def removing(*names: str) -> Edit:
    """Return an edit that removes files and directories."""

    def edit(tree: Path) -> None:
        for path in (tree / name for name in names):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    return edit


def linking(existing: str, new: str) -> Edit:
    """Return an edit that makes a hard link."""
    return lambda tree: (tree / new).hardlink_to(tree / existing)


def all_of(*edits: Edit) -> Edit:
    """Return an edit that does one after the other."""
    return lambda tree: [edit(tree) for edit in edits]


def set_read_only(tree: Path, *, is_read_only: bool) -> None:
    bed.run("btrfs", "property", "set", "-ts", tree, "ro", "true" if is_read_only else "false")


def delete_subvolumes(directory: Path) -> None:
    """Remove a directory of btrfs with all subvolumes in it, read-only ones too."""
    # A subvolume's root directory has inode 256; the deepest come first.
    places = [Path(place) for place, _, _ in os.walk(directory, topdown=False)]
    subvolumes = [path for path in places if path != directory and path.stat().st_ino == 256]
    for path in subvolumes:
        bed.run("btrfs", "property", "set", "-f", "-ts", path, "ro", "false")  # received ones too
    for path in subvolumes:
        bed.run("btrfs", "subvolume", "delete", path)
    shutil.rmtree(directory)


def differences(source: Path, target: Path) -> list[str]:
    """Return what rsync would have to do, in both directions, to make the two trees equal.

    What stays out of a dataset is hidden on the source's side only: if it turns up in the target,
    that is a difference, and so is a `.dsg` in the source.
    """
    return [
        *_compare(source, target, hidden=EXCLUDED, protected=DSG),
        *_compare(target, source, hidden=DSG, protected=EXCLUDED),
    ]


def _compare(
    sender: Path, receiver: Path, *, hidden: Iterable[str], protected: Iterable[str]
) -> list[str]:
    return bed.run(
        *("rsync", "-nacH", "--numeric-ids", "--delete", "--itemize-changes"),
        *(zfs_kind.RSYNC_TIMES, *zfs_kind.RSYNC_ATTRIBUTES),
        # How btrfs stores a file is not what is in it.
        "--filter=-x_btrfs.*",
        *(f"--filter=hide_/{name}" for name in hidden),
        *(f"--filter=protect_/{name}" for name in protected),
        *(f"{sender}/", f"{receiver}/"),
    ).splitlines()


def assert_migrated(made: Bed, repo: str, directory: Path, count: int) -> None:
    """Fail unless the target's snapshots are s1 … s`count` and each equals its source."""
    assert made.snapshots(repo) == [f"s{number}" for number in range(1, count + 1)]
    for name in made.snapshots(repo):
        view = made.spool.parent / "view"
        with bed.snapshot_view(f"{made.parent}/{repo}", name, view) as tree:
            found = differences(directory / name, tree)
            if found:
                raise AssertionError(f"{repo}@{name} is not like its source: {found}")
