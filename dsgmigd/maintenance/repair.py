"""Restore the live `.dsg/` of a published dataset from the newest snapshot.

Every changed or extra object is copied to AREA/replaced/REPO:dsg-TIME-… first, and is on disk there
before anything is changed. Only root can enter that directory. It is in the same pool, but not in a
dataset that clients see: in the target itself it would become part of every later snapshot, and a
client that clones, promotes and destroys datasets could destroy it. No repository has a colon in
its name, so no replaced dataset is ever mounted over it.

A file is put back by rename, so that a client sees the old or the new one; it gets the owner, mode
and times of the snapshot. After an interruption at any point the next run completes the repair. The
metadata in the snapshot is checked first: nothing is restored from damaged metadata.

Raises: MetadataDamaged, TargetMissing, TargetChanged, TargetFull, TargetUnwritable.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dsgmigd.errors import MetadataDamaged, TargetChanged, TargetMissing
from dsgmigd.exclusion import DSG_DIRECTORY
from dsgmigd.host.directories import Directories
from dsgmigd.host.durable import copy_durably, sync_directory
from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.regular import open_regular
from dsgmigd.maintenance.history import History
from dsgmigd.maintenance.newest_snapshot import Newest
from dsgmigd.target.layout import moment
from dsgmigd.verification.metadata.documents import Documents
from dsgmigd.verification.metadata.files import MANIFEST_LIMIT_BYTES

What = Literal["missing", "changed", "extra"]

_UNFINISHED = b".dsgmigd"
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
}
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Difference:
    """One path that differs from the snapshot.

    `detail` says how it changed. `is_kept` is true if the repair replaces or removes it, and not
    only changes the owner and mode of a directory.
    """

    path: bytes
    what: What
    detail: str = ""
    is_kept: bool = True


@dataclass(frozen=True)
class Repair:
    """What differed; `kept` is the directory with the copies of what was replaced or removed."""

    differences: tuple[Difference, ...]
    kept: str | None


def repair_metadata(newest: Newest, *, is_dry_run: bool) -> Repair:
    """Find what differs and, unless `is_dry_run`, restore it."""
    if not newest.target.is_mounted:
        raise TargetMissing(
            f"{newest.target.name} is not mounted",
            hint=f"mount it with: zfs mount {newest.target.name}",
        )
    _check_snapshot(newest)
    with (
        target_errors(f"repairing .dsg of {newest.target.name}"),
        Directories(newest.root) as snapshot,
        Directories(newest.target.mountpoint) as live,
    ):
        differences = find_differences(snapshot, live)
        if is_dry_run or not differences:
            return Repair(differences, None)
        kept = _keep(differences, live, newest)
        restore(differences, snapshot, live)
        live.forget_all()
        if find_differences(snapshot, live):
            raise TargetChanged(
                f"{newest.target.mountpoint}/.dsg changed while it was repaired",
                hint="repair it when no client uses it; what was there before is kept"
                + (f" in {kept}" if kept else ""),
            )
    return Repair(differences, kept)


def _check_snapshot(newest: Newest) -> None:
    """Raise MetadataDamaged unless the documents in the snapshot are correct."""
    History(newest.root, newest.name.number).check()
    found = Documents(may_be_reformatted=True).read(newest.root, newest.name.number)
    if found.discrepancies:
        raise MetadataDamaged(
            f".dsg in snapshot {newest.name} is damaged: {found.discrepancies[0]}",
            hint="see what else is damaged, and since when: dsgmigd verify REPO --without-source",
        )


# Finding the differences.


def find_differences(snapshot: Directories, live: Directories) -> tuple[Difference, ...]:
    """Return how `.dsg` below `live` differs, sorted; an extra directory without its contents."""
    expected = dict(snapshot.walk(DSG_DIRECTORY))
    found = dict(live.walk(DSG_DIRECTORY))
    gone = expected.keys() - found.keys()
    differences = [Difference(path, "missing", is_kept=False) for path in gone]
    for path in expected.keys() & found.keys():
        detail = ", ".join(_changes(path, expected[path], found[path], snapshot, live))
        is_directory = _kind(expected[path]) == _kind(found[path]) == _KINDS[stat.S_IFDIR]
        if detail:
            differences.append(Difference(path, "changed", detail, is_kept=not is_directory))
    for path in found.keys() - expected.keys():
        parent = expected.get(path.rpartition(b"/")[0])
        if parent is not None and stat.S_ISDIR(parent.st_mode):
            differences.append(Difference(path, "extra", _kind(found[path])))
    return tuple(sorted(differences, key=lambda difference: difference.path))


def _changes(
    path: bytes,
    expected: os.stat_result,
    found: os.stat_result,
    snapshot: Directories,
    live: Directories,
) -> Iterator[str]:
    if _kind(expected) != _kind(found):
        yield f"{_kind(found)} instead of {_kind(expected)}"
        return
    if stat.S_ISREG(expected.st_mode):
        if expected.st_size != found.st_size:
            yield f"{found.st_size} bytes instead of {expected.st_size}"
        elif not _has_same_content(path, snapshot, live):
            yield "other content"
    if (expected.st_uid, expected.st_gid) != (found.st_uid, found.st_gid):
        yield (
            f"owner {found.st_uid}:{found.st_gid} instead of {expected.st_uid}:{expected.st_gid}"
        )
    if expected.st_mode != found.st_mode:
        modes = (stat.S_IMODE(status.st_mode) for status in (found, expected))
        yield "mode {:04o} instead of {:04o}".format(*modes)


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")


def _has_same_content(path: bytes, snapshot: Directories, live: Directories) -> bool:
    with _opened(path, snapshot) as one, _opened(path, live) as other:
        offset = 0
        while piece := os.pread(one, _PIECE_BYTES, offset):
            if piece != os.pread(other, _PIECE_BYTES, offset):
                return False
            offset += len(piece)
    return True


@contextlib.contextmanager
def _opened(path: bytes, tree: Directories) -> Iterator[int]:
    parent, name = tree.parent_of(path)
    descriptor = open_regular(name, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# Restoring.


def _keep(differences: tuple[Difference, ...], live: Directories, newest: Newest) -> str | None:
    """Copy what will be replaced or removed; return the directory, None if there is nothing."""
    paths = [one.path for one in differences if one.is_kept]
    if not paths:
        return None
    for path in paths:
        _check_sizes(path, live)
    area = newest.staging.area.replaced_mountpoint()
    prefix = f"{newest.staging.layout.repo}:dsg-{moment(time.time())}-"
    kept = tempfile.mkdtemp(prefix=prefix, dir=area)
    try:
        keep_aside(paths, live, kept)
        sync_directory(area)
    except BaseException:
        shutil.rmtree(kept)
        raise
    return kept


def _check_sizes(path: bytes, live: Directories) -> None:
    """Raise TargetChanged for a file that no client wrote, and that would fill the pool."""
    for below, status in live.walk(path):
        if stat.S_ISREG(status.st_mode) and status.st_size > MANIFEST_LIMIT_BYTES:
            raise TargetChanged(
                f"{os.fsdecode(below)!r} has {status.st_size} bytes; no document is that large, "
                "and no copy of it is kept",
                hint="move it out of .dsg or delete it, then repair again",
            )


def keep_aside(paths: list[bytes], live: Directories, kept: str) -> None:
    """Copy `paths` to the same paths below `kept`, and wait until they are on disk."""
    for path in paths:
        parent, name = live.parent_of(path)
        there = os.path.join(os.fsencode(kept), os.path.dirname(path))
        os.makedirs(there, 0o700, exist_ok=True)
        descriptor = os.open(there, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_durably(parent, name, descriptor, name)
        finally:
            os.close(descriptor)
    for directory, _, _ in os.walk(kept):
        sync_directory(directory)


def restore(differences: tuple[Difference, ...], snapshot: Directories, live: Directories) -> None:
    """Remove what is extra, then put back what is missing or changed, directories first."""
    for one in differences:
        if one.what == "extra":
            _remove(one.path, live)
    for one in differences:
        if one.what != "extra":
            _put_back(one.path, snapshot, live)


def _put_back(path: bytes, snapshot: Directories, live: Directories) -> None:
    status = snapshot.lstat(path)
    origin, name = snapshot.parent_of(path)
    with live.readable(path.rpartition(b"/")[0]) as parent:
        if stat.S_ISDIR(status.st_mode):
            _put_back_directory(path, status, live)
        else:
            if stat.S_ISDIR(_mode(path, live)):
                _remove(path, live)
            copy_durably(origin, name, parent, name + _UNFINISHED)
            os.rename(name + _UNFINISHED, name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)


def _put_back_directory(path: bytes, status: os.stat_result, live: Directories) -> None:
    parent, name = live.parent_of(path)
    mode = _mode(path, live)
    if not stat.S_ISDIR(mode):
        if mode:
            _remove(path, live)
        os.mkdir(name, 0o700, dir_fd=parent)
    with live.readable(path) as descriptor:
        os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _mode(path: bytes, live: Directories) -> int:
    """Return the type and mode of what is at `path`; 0 if there is nothing."""
    try:
        return live.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _remove(path: bytes, live: Directories) -> None:
    parent, name = live.parent_of(path)
    live.forget(path)
    if stat.S_ISDIR(live.lstat(path).st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
