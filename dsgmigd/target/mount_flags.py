"""Whether a dataset is mounted as its properties setuid=off and devices=off ask for.

zfs-fuse ignores both: any user could run a set-ID program of the source as its owner, and open a
device node of it. Flags that are added to a mount are lost when the dataset is mounted again, and
copies of the mount in other mount namespaces do not get them: that of the host is looked at, too.

Raises: TargetUnwritable, HostExhausted, and those of dsgmigd.target.zfs.
"""

from collections.abc import Callable

from dsgmigd.errors import DsgmigdError, TargetUnwritable
from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.syscalls import MOUNT_NODEV, MOUNT_NOSUID, add_mount_flags
from dsgmigd.target.mounts import Mount, zfs_mounts, zfs_mounts_of_host
from dsgmigd.target.zfs import Zfs

# By property, what the kernel's list of mounts calls the flag that it stands for.
_FLAGS = {"setuid": "nosuid", "devices": "nodev"}
_NUMBERS = {"nosuid": MOUNT_NOSUID, "nodev": MOUNT_NODEV}
_LASTING = "add nosuid,nodev to fuse-mount-options in /etc/zfs/zfsrc and start zfs-fuse again"


def restrict_mount(
    zfs: Zfs, name: str, *, add_flags: Callable[[str, int], None] = add_mount_flags
) -> str | None:
    """Add nosuid and nodev where `name` is mounted without, although its properties say off.

    Returns a warning if flags were missing; they last until the next mount. Raises TargetUnwritable
    if they cannot be added: the dataset is then unmounted, or the error says that it could not be.
    """
    restricted = None
    for mount in _mounts_without(name, frozenset(_NUMBERS)):
        missing = {flag for key, flag in _FLAGS.items() if _is_off(zfs, name, key)} - mount.flags
        if not missing:
            continue
        words = ",".join(sorted(missing, reverse=True))
        try:
            with target_errors(f"remounting {mount.mountpoint} with {words}"):
                add_flags(mount.mountpoint, sum(_NUMBERS[flag] for flag in missing))
            if mount.mountpoint in {one.mountpoint for one in _mounts_without(name, missing)}:
                raise TargetUnwritable(f"{mount.mountpoint} has no {words}", hint=_LASTING)
        except DsgmigdError as error:
            raise _unmounted(zfs, mount, words, error) from error
        restricted = _describe(mount, words)
    return restricted


def _mounts_without(name: str, flags: frozenset[str] | set[str]) -> list[Mount]:
    with target_errors("reading what is mounted"):
        mounts = {
            (one.mountpoint, one.flags): one for one in (*zfs_mounts(), *zfs_mounts_of_host())
        }
    return [
        one for one in mounts.values() if one.dataset == name and one.is_whole and flags - one.flags
    ]


def _is_off(zfs: Zfs, name: str, key: str) -> bool:
    return zfs.option(name, key) == "off"


def _describe(mount: Mount, words: str) -> str:
    if mount.is_fuse:
        return (
            f"zfs-fuse ignores setuid=off and devices=off: {mount.mountpoint} was remounted with "
            f"{words}, until {mount.dataset} is mounted again; to make that last, {_LASTING}"
        )
    return f"{mount.mountpoint} was mounted without {words}, and was remounted with it"


def _unmounted(zfs: Zfs, mount: Mount, words: str, error: DsgmigdError) -> TargetUnwritable:
    """Unmount what cannot be restricted; return the error that says so."""
    place = mount.mountpoint
    try:
        zfs.unmount(mount.dataset)
        state = f"{place} was unmounted"
    except DsgmigdError as busy:
        state = f"{place} is mounted without {words}, and cannot be unmounted: {busy.message}"
    return TargetUnwritable(
        f"{state}: set-ID programs and device nodes in it could be used, for {error.message}",
        hint=_LASTING if mount.is_fuse else f"look at: zfs get setuid,devices {mount.dataset}",
    )
