"""What rsync needs before and after it makes staging equal to a snapshot.

rsync changes a file with several names in place where only attributes differ, so names that are
one file in staging but not in the source would stay one. It also fails where certain types take
each other's place, and does not empty a directory that became a nested subvolume. Such *misfits*
are removed before: rsync then copies them like new ones.

rsync fails where it cannot set a time, so times that the target can hold only nearly are set here.

Raises: SourceUnreadable, TargetUnwritable, TargetRefused, TargetFull, HostExhausted, and the errors
of the checkpoint.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator

from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_errors, target_errors
from dsgmigd.transfer.nested_subvolumes import is_nested
from dsgmigd.transfer.tree import Tree

# Path, and its status in the source and in staging.
_Pair = tuple[bytes, os.stat_result, os.stat_result]


def remove_misfits(
    source: Directories, staging: Directories, checkpoint: Callable[[], None]
) -> None:
    """Remove what has another type in the source, and links between files that are not linked.

    A nested subvolume counts as another type than a directory with something in it.
    """
    tree = Tree(staging)
    device = os.fstat(source.root).st_dev
    groups: dict[int, dict[bytes, int]] = {}
    for path, wanted, found in _pairs(source, staging, [b""]):
        checkpoint()
        if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(found.st_mode):
            _remove(tree, path)
        elif is_nested(wanted, device):
            if _has_names(staging, path):
                _remove(tree, path)
        elif found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            groups.setdefault(found.st_ino, {})[path] = wanted.st_ino
    for group in groups.values():
        if len(set(group.values())) > 1:
            for path in group:
                _remove(tree, path)


def _has_names(staging: Directories, path: bytes) -> bool:
    with target_errors(f"listing {os.fsdecode(path)!r}"):
        return bool(staging.names(path))


def _remove(tree: Tree, path: bytes) -> None:
    with target_errors(f"removing {os.fsdecode(path)!r}"):
        tree.remove_all(path)


def set_held_times(
    source: Directories,
    staging: Directories,
    tops: Collection[bytes],
    *,
    held_mtime_ns: Callable[[int], int],
    checkpoint: Callable[[], None],
) -> None:
    """Set the times of the `tops`, of all below and above them, to the nearest that staging holds.

    `held_mtime_ns` returns that nearest time, in nanoseconds since the epoch.
    """
    for path, wanted, found in _pairs(source, staging, tops):
        checkpoint()
        mtime_ns = held_mtime_ns(wanted.st_mtime_ns)
        if mtime_ns != found.st_mtime_ns:
            with target_errors(f"setting the times of {os.fsdecode(path)!r}"):
                parent, name = staging.parent_of(path)
                times = (held_mtime_ns(wanted.st_atime_ns), mtime_ns)
                os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def _pairs(source: Directories, staging: Directories, tops: Collection[bytes]) -> Iterator[_Pair]:
    """Yield the paths that both sides have: those above the `tops`, the `tops`, and all below.

    A directory comes before its contents. Neither what is excluded nor another file system that is
    mounted in the source is entered.
    """
    for path in sorted({parent for top in tops for parent in _parents(top)}):
        yield from _pair(source, staging, path)
    device = os.fstat(source.root).st_dev
    waiting = list(tops)
    while waiting:
        path = waiting.pop()
        for pair in _pair(source, staging, path):
            yield pair
            if _are_directories(pair) and pair[1].st_dev == device:
                waiting += _below(source, path)


def _parents(path: bytes) -> Iterator[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _pair(source: Directories, staging: Directories, path: bytes) -> Iterator[_Pair]:
    with source_errors(f"reading {os.fsdecode(path)!r}"):
        wanted = _status(source, path)
    with target_errors(f"reading {os.fsdecode(path)!r}"):
        found = _status(staging, path)
    if wanted is not None and found is not None:
        yield path, wanted, found


def _are_directories(pair: _Pair) -> bool:
    return all(stat.S_ISDIR(status.st_mode) for status in pair[1:])


def _status(tree: Directories, path: bytes) -> os.stat_result | None:
    try:
        return tree.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _below(source: Directories, path: bytes) -> list[bytes]:
    prefix = path + b"/" if path else b""
    with source_errors(f"listing {os.fsdecode(path)!r}"):
        paths = [prefix + os.fsencode(name) for name in source.names(path)]
    return [path for path in paths if not is_excluded(path) and path != DSG_DIRECTORY]
