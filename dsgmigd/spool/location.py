"""Where a spool may lie, and holding on to it while it is used.

Requests are safe where nobody but root or the daemon's own user can exchange a directory on the
way to them, and where locks, renames and fsync mean what they say: on a local file system. The
rules (`judge_place`) are apart from the looking (`check_place`).

Leaving errors: SpoolUnusable, SpoolReplaced.
"""

import contextlib
import os
import shlex
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dsgmigd.errors import SpoolReplaced, SpoolUnusable
from dsgmigd.syscalls import file_system_magic, rename_noreplace

# statfs(2), linux/magic.h and the sources of ZFS.
_LOCAL = {
    0xEF53: "ext4",
    0x58465342: "XFS",
    0x9123683E: "btrfs",
    0x2FC12FC1: "ZFS",
    0xF2F52010: "F2FS",
    0xCA451A4E: "bcachefs",
    0x3153464A: "JFS",
}
# Containers have their own directories on overlayfs: refusing it would refuse them. Locks and
# renames work there as on the file system below; whether fsync does, a mount option decides.
_LOCAL_BUT = {
    0x01021994: "tmpfs: requests and results do not survive a reboot",
    0x858458F6: "ramfs: requests and results do not survive a reboot",
    0x794C7630: "overlayfs: requests and results last as long as its upper layer, no longer than "
    "the container perhaps",
}
_NOT_LOCAL = {
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x517B: "SMB",
    0x65735546: "FUSE",
    0x01021997: "9p",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
}


@dataclass(frozen=True)
class Component:
    """One name of an absolute path, as lstat sees it."""

    path: str
    mode: int
    uid: int


def judge_place(way: list[Component], magic: int, euid: int) -> str | None:
    """Return what to warn of, None if all is well; raise SpoolUnusable with what mends it.

    `way` leads from / to the spool; `magic` is the type of the spool's file system (statfs(2)).
    """
    for component in way:
        _check_component(component, euid)
    spool = way[-1].path
    if magic in _LOCAL_BUT:
        return f"the spool {spool} lies on {_LOCAL_BUT[magic]}"
    if magic not in _LOCAL:
        kind = _NOT_LOCAL.get(magic, f"a file system of the unknown type {magic:#x}")
        raise SpoolUnusable(
            f"the spool {spool} lies on {kind}, which is not a local file system",
            hint="make one on ext4, XFS, btrfs or ZFS: install -d -m 3730 -g dsgmigd DIRECTORY, "
            "and name it in [spool] directory",
        )
    return None


def _check_component(component: Component, euid: int) -> None:
    path, mode = component.path, component.mode
    quoted = shlex.quote(path)
    if stat.S_ISLNK(mode):
        problem = "is a symbolic link"
        mend = f"in [spool] directory write instead of it what this prints: realpath {quoted}"
    elif not stat.S_ISDIR(mode):
        problem = "is not a directory"
        mend = f"look at it, and move it away: mv -T -- {quoted} {shlex.quote(path + '.old')}"
    elif component.uid not in {0, euid}:
        problem = f"belongs to user {component.uid}, who could exchange what is in it"
        mend = f"look at what is in it, then: chown root {quoted}"
    elif mode & 0o022 and not mode & stat.S_ISVTX:
        problem = "lets users remove and exchange what is not theirs"
        mend = f"let them add files only: chmod +t {quoted}, or none: chmod go-w {quoted}"
    else:
        return
    raise SpoolUnusable(f"no spool is safe here: {path} {problem}", hint=mend)


def check_place(directory: str) -> str | None:
    """Look at the way to `directory` and judge it; see `judge_place`."""
    try:
        way = [_look_at(path) for path in _paths_to(directory)]
        magic = file_system_magic(directory)
    except OSError as error:
        raise SpoolUnusable(
            f"cannot look at the spool {directory}: {error}",
            hint=f"see what is there: namei -l {shlex.quote(directory)}",
        ) from error
    return judge_place(way, magic, os.geteuid())


def check_own_directory(path: str) -> None:
    """Raise SpoolUnusable unless `path` is a directory, and root's or our own.

    Whoever may write to the spool may have taken the name before us; a link is not followed.
    """
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode) and status.st_uid in {0, os.geteuid()}:
        return
    what = "is not a directory"
    if stat.S_ISDIR(status.st_mode):
        what = f"belongs to user {status.st_uid}"
    raise SpoolUnusable(
        f"{path} is to be dsgmigd's own directory, but {what}",
        hint="look at it, and move it away: "
        f"mv -T -- {shlex.quote(path)} {shlex.quote(path + '.foreign')}",
    )


def check_renaming(directory: str) -> None:
    """Raise SpoolUnusable if a file cannot be renamed without replacing another (renameat2(2)).

    The kernel's ZFS cannot before version 2.2. `directory` is our own.
    """
    old = os.path.join(directory, f"renaming.{uuid.uuid4().hex}")
    new = f"{old}.new"
    try:
        os.close(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        rename_noreplace(old, new)
    except OSError as error:
        raise SpoolUnusable(
            f"the file system of {directory} cannot rename as dsgmigd needs it: {error.strerror}",
            hint="have the spool on ext4, XFS or btrfs, or on ZFS 2.2 or newer",
        ) from error
    finally:
        for path in (old, new):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class HeldDirectory:
    """A directory that stays the same one, whatever becomes of its `name`.

    `path` leads to it as long as it is held, even if it is moved or something is mounted over it.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        # With the dot it is no link, which would be watched in place of the directory.
        self.path = f"/proc/self/fd/{descriptor}/."
        self._descriptor = descriptor

    def is_in_place(self) -> bool:
        """Say whether the name still leads to it, as far as anybody can see."""
        try:
            return os.path.samestat(os.stat(self.name), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # that it leads elsewhere is not proven; whoever uses it meets the error

    def check(self) -> None:
        """Raise SpoolReplaced if the name leads to another directory now, or to none."""
        if not self.is_in_place():
            raise SpoolReplaced(self.name)


@contextlib.contextmanager
def held_directory(name: str) -> Iterator[HeldDirectory]:
    """Hold the directory that is called `name` now."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield HeldDirectory(name, descriptor)
    finally:
        os.close(descriptor)


def _paths_to(directory: str) -> list[str]:
    parts = [part for part in directory.split("/") if part]
    return ["/" + "/".join(parts[:count]) for count in range(len(parts) + 1)]


def _look_at(path: str) -> Component:
    status = os.lstat(path)
    return Component(path, status.st_mode, status.st_uid)
