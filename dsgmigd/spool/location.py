"""Where a spool may be, and how an instance holds on to its directory.

Requests are safe where only root or the daemon's user can exchange a directory on the path to
them, and where locks, renames and fsync are reliable: on a local file system. The rules
(`judge_place`) are apart from the system calls (`check_place`).

Raises: SpoolUnusable, SpoolReplaced.
"""

import contextlib
import os
import shlex
import stat
import uuid
from collections.abc import Iterator

from dsgmigd.errors import SpoolReplaced, SpoolUnusable
from dsgmigd.host.ownership import Component, look_at, paths_to, weakness_of
from dsgmigd.host.syscalls import file_system_magic, rename_noreplace

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
# The directories of a container are on overlayfs: refusing it would refuse containers. Locks and
# renames work there as on the file system below; a mount option decides whether fsync does.
_LOCAL_WITH_WARNING = {
    0x01021994: "tmpfs: requests and results do not survive a reboot",
    0x858458F6: "ramfs: requests and results do not survive a reboot",
    0x794C7630: "overlayfs: requests and results last only as long as its upper layer, "
    "which may be removed with the container",
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


def judge_place(way: list[Component], magic: int, euid: int) -> str | None:
    """Return a warning, None if there is none; raise SpoolUnusable with the fix as its hint.

    `way` holds every component from / to the spool; `magic` is the type of its file
    system (statfs(2)).
    """
    for component in way:
        _check_component(component, euid)
    spool = way[-1].path
    if magic in _LOCAL_WITH_WARNING:
        return f"the spool {spool} is on {_LOCAL_WITH_WARNING[magic]}"
    if magic not in _LOCAL:
        kind = _NOT_LOCAL.get(magic, f"a file system of unknown type {magic:#x}")
        raise SpoolUnusable(
            f"the spool {spool} is on {kind}, which is not a local file system",
            hint="create one on ext4, XFS, btrfs or ZFS: install -d -m 3730 -g dsgmigd DIRECTORY, "
            "and set [spool] directory to it",
        )
    return None


def _check_component(component: Component, euid: int) -> None:
    path = component.path
    quoted = shlex.quote(path)
    if component.is_link:
        problem = "is a symbolic link"
        fix = f"set [spool] directory to the real path; to print it: realpath {quoted}"
    elif not component.is_directory:
        problem = "is not a directory"
        fix = f"move it away: mv -T -- {quoted} {shlex.quote(path + '.old')}"
    else:
        weakness = weakness_of(component, euid)
        if weakness is None:
            return
        problem, fix = weakness.problem, weakness.fix
    raise SpoolUnusable(f"unsafe spool location: {path} {problem}", hint=fix)


def check_directory(directory: str) -> None:
    """Raise SpoolUnusable unless `directory` exists and is a directory."""
    if os.path.isdir(directory):
        return
    if os.path.lexists(directory):
        quoted = shlex.quote(directory)
        raise SpoolUnusable(
            f"the spool {directory} is not a directory",
            hint=f"move it away: mv -T -- {quoted} {shlex.quote(directory + '.old')}; then "
            f"create the spool: install -d -m 3730 -g dsgmigd {quoted}",
        )
    raise SpoolUnusable(
        f"the spool directory {directory} does not exist",
        hint=f"create it: install -d -m 3730 -g dsgmigd {directory}",
    )


def check_place(directory: str) -> str | None:
    """Examine the path to `directory` and its file system; see `judge_place`."""
    try:
        way = [look_at(path) for path in paths_to(directory)]
        magic = file_system_magic(directory)
    except OSError as error:
        raise SpoolUnusable(
            f"cannot examine the spool {directory}: {error}",
            hint=f"examine the path: namei -l {shlex.quote(directory)}",
        ) from error
    return judge_place(way, magic, os.geteuid())


def check_own_directory(path: str) -> None:
    """Raise SpoolUnusable unless `path` is a directory of root or of the daemon's user.

    A user who may write to the spool may have taken the name first; a link is not followed.
    """
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode) and status.st_uid in {0, os.geteuid()}:
        return
    what = "is not a directory"
    if stat.S_ISDIR(status.st_mode):
        what = f"belongs to user {status.st_uid}"
    raise SpoolUnusable(
        f"{path} must be a directory of dsgmigd, but it {what}",
        hint=f"move it away: mv -T -- {shlex.quote(path)} {shlex.quote(path + '.foreign')}",
    )


def check_renaming(directory: str) -> None:
    """Raise SpoolUnusable if a file cannot be renamed without replacing another (renameat2(2)).

    ZFS on Linux cannot before version 2.2. `directory` is dsgmigd's own.
    """
    old = os.path.join(directory, f"renaming.{uuid.uuid4().hex}")
    new = f"{old}.new"
    try:
        os.close(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        rename_noreplace(old, new)
    except OSError as error:
        raise SpoolUnusable(
            f"the file system of {directory} cannot rename without replacing: {error.strerror}",
            hint="move the spool to ext4, XFS or btrfs, or on ZFS 2.2 or newer",
        ) from error
    finally:
        for path in (old, new):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


class HeldDirectory:
    """A directory that an instance keeps open, so that it stays the same one.

    `path` leads to it even if it is moved or something is mounted over its `name`.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        # Without the dot the path is a link, and the link would be watched, not the directory.
        self.path = f"/proc/self/fd/{descriptor}/."
        self._descriptor = descriptor

    def is_in_place(self) -> bool:
        """Say whether the name still leads to this directory; True if that cannot be checked."""
        try:
            return os.path.samestat(os.stat(self.name), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # not proven to lead elsewhere; its next user gets the error

    def check(self) -> None:
        """Raise SpoolReplaced if the name now leads to another directory, or to none."""
        if not self.is_in_place():
            raise SpoolReplaced(self.name)


@contextlib.contextmanager
def held_directory(name: str) -> Iterator[HeldDirectory]:
    """Keep the directory open that is called `name` now."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield HeldDirectory(name, descriptor)
    finally:
        os.close(descriptor)
