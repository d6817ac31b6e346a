"""btrfs subvolumes: what they are, and the read-only pins that hold a source still.

Leaving errors: SourceUnreadable, HostExhausted, PinImpossible.
"""

import errno
import os
import stat
import uuid
from dataclasses import dataclass

import btrfsutil

from dsgmigd.errors import PinImpossible
from dsgmigd.file_errors import source_errors, status_of

# btrfs_tree.h: the root of every subvolume has this inode number.
_ROOT_INODE = 256
# What a sync says that is for another file system, one mounted read-only, or not for us.
_NOTHING_WAITS = frozenset({errno.ENOTTY, errno.EROFS, errno.EPERM})
_SEND_PROTOCOL_FILE = "/sys/fs/btrfs/features/send_stream_version"


@dataclass(frozen=True)
class Subvolume:
    """What btrfs says of a subvolume.

    `ctransid` moves with every change inside, but only once the change is committed: call
    `sync_filesystem` before comparing. (`generation` would not do: making a snapshot moves the
    origin's.) `otransid` is the transaction in which it was made, `created_at` is in seconds since
    the epoch.
    """

    uuid: str
    parent_uuid: str | None
    ctransid: int
    otransid: int
    is_read_only: bool
    created_at: float


def read_subvolume(path: str) -> Subvolume | None:
    """Return what btrfs says of the subvolume at `path`; None if a plain directory is there."""
    with source_errors(f"looking at the subvolume {path}"):
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode) or status.st_ino != _ROOT_INODE:
            return None
        if not btrfsutil.is_subvolume(path):
            return None
        info = btrfsutil.subvolume_info(path)
        is_read_only = btrfsutil.get_subvolume_read_only(path)
    return Subvolume(
        uuid=str(uuid.UUID(bytes=info.uuid)),
        parent_uuid=str(uuid.UUID(bytes=info.parent_uuid)) if any(info.parent_uuid) else None,
        ctransid=info.ctransid,
        otransid=info.otransid,
        is_read_only=is_read_only,
        created_at=info.otime,
    )


def last_common_transaction(before: Subvolume, after: Subvolume) -> int | None:
    """Return a transaction at which both had the same content, of which only `after` moved on.

    None if they are not related in that way. A snapshot is made while its transaction is
    committed, so something of that transaction itself may be older or newer.
    """
    if after.parent_uuid == before.uuid:
        common = after.otransid
    elif after.parent_uuid is not None and after.parent_uuid == before.parent_uuid:
        common = before.otransid
    else:
        return None
    has_moved_on = before.ctransid > common or before.otransid > after.otransid
    return None if has_moved_on else common


def sync_filesystem(path: str) -> None:
    """Commit what was written to the btrfs at `path`, so that its ctransids are current."""
    with source_errors(f"committing what was written below {path}"):
        try:
            btrfsutil.sync(path)
        except OSError as error:
            if error.errno not in _NOTHING_WAITS:
                raise


def newest_send_protocol() -> int:
    """Return the newest version of the send stream that the kernel writes."""
    try:
        with open(_SEND_PROTOCOL_FILE, encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):  # kernels before 5.18 do not say, and know the first only
        return 1


def create_pin(source: str, pin: str) -> None:
    """Make the read-only snapshot `pin` of the subvolume at `source`."""
    try:
        btrfsutil.create_snapshot(source, pin, read_only=True)
    except OSError as error:
        raise PinImpossible(
            f"cannot pin {source}: {error}",
            hint="the source must be a writable btrfs with free space for its metadata",
        ) from error


def delete_pin(pin: str) -> None:
    """Delete the read-only snapshot `pin`; a pin that is gone is no error."""
    with source_errors(f"looking for {pin}"):
        is_there = status_of(pin) is not None
    subvolume = read_subvolume(pin) if is_there else None
    if subvolume is None:
        return
    if not subvolume.is_read_only:
        raise PinImpossible(
            f"{pin} is writable: it is not a pin",
            hint="look at what is in it, and delete it by hand",
        )
    try:
        btrfsutil.delete_subvolume(pin)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise PinImpossible(f"cannot delete the pin {pin}: {error}", hint="") from error
