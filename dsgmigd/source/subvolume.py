"""btrfs subvolumes: their attributes, and the read-only snapshots that pin them.

Raises: SourceUnreadable, HostExhausted, PinImpossible.
"""

import errno
import fcntl
import os
import struct
import uuid
from dataclasses import dataclass

import btrfsutil

from dsgmigd.errors import PinImpossible
from dsgmigd.host.file_errors import source_errors

# Inode numbers, from linux/btrfs_tree.h: of the root of every subvolume, and of the empty directory
# that a snapshot has in place of a nested subvolume.
FIRST_FREE_OBJECTID = 256
EMPTY_SUBVOL_DIR_OBJECTID = 2
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A sync fails with these on another file system, on one that is mounted read-only, or without the
# necessary privilege. Nothing of ours is waiting to be committed then.
_NOTHING_TO_COMMIT = frozenset({errno.ENOTTY, errno.EROFS, errno.EPERM})
# Why the kernel refuses BTRFS_IOC_SNAP_CREATE_V2.
_PIN_PROBLEMS = {
    errno.EXDEV: "on another file system than the source root",
    errno.EROFS: "file system mounted read-only",
    errno.EDQUOT: "btrfs quota exceeded",
    errno.ENOSPC: "no space left on the file system",
    errno.ETXTBSY: "active swap file in the subvolume",
}
# From linux/btrfs.h: BTRFS_IOC_GET_SUBVOL_INFO, _IOR(0x94, 60, 504 bytes), and the field otime.
_GET_SUBVOLUME_INFO = 0x81F8943C
_SUBVOLUME_INFO_BYTES = 504
_CREATION_TIME_OFFSET = 392
_TIME = struct.Struct("<QL")
_SEND_PROTOCOL_FILE = "/sys/fs/btrfs/features/send_stream_version"


@dataclass(frozen=True)
class Subvolume:
    """What btrfs reports about a subvolume.

    `ctransid` increases with every change in the subvolume, once the change is committed: call
    `sync_filesystem` before you compare it. (`generation` is no use here: taking a snapshot
    increases it.) `otransid` is the transaction in which the subvolume was created, `created_at`
    is in seconds since the epoch. `received_uuid` is set when `btrfs receive` has completed it.
    """

    uuid: str
    parent_uuid: str | None
    ctransid: int
    otransid: int
    is_read_only: bool
    created_at: float
    received_uuid: str | None = None


def read_subvolume(path: str) -> Subvolume | None:
    """Return what btrfs reports about the subvolume at `path`; None for anything else.

    A symbolic link is not followed.
    """
    with source_errors(f"looking at the subvolume {path}"):
        try:
            descriptor = os.open(path, _OPEN_DIRECTORY)
        except NotADirectoryError:
            return None
        try:
            return _read_open(descriptor)
        finally:
            os.close(descriptor)


def _read_open(descriptor: int) -> Subvolume | None:
    opened = f"/proc/self/fd/{descriptor}/."
    if os.fstat(descriptor).st_ino != FIRST_FREE_OBJECTID or not btrfsutil.is_subvolume(opened):
        return None
    info = btrfsutil.subvolume_info(opened)
    return Subvolume(
        uuid=str(uuid.UUID(bytes=info.uuid)),
        parent_uuid=_uuid_or_none(info.parent_uuid),
        ctransid=info.ctransid,
        otransid=info.otransid,
        is_read_only=btrfsutil.get_subvolume_read_only(opened),
        created_at=_creation_time(opened),
        received_uuid=_uuid_or_none(info.received_uuid),
    )


def _creation_time(path: str) -> float:
    """Return when a subvolume was created; btrfsutil cuts the time to whole seconds."""
    buffer = bytearray(_SUBVOLUME_INFO_BYTES)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _GET_SUBVOLUME_INFO, buffer)
    finally:
        os.close(descriptor)
    seconds, nanoseconds = _TIME.unpack_from(buffer, _CREATION_TIME_OFFSET)
    return float(seconds + nanoseconds / 1e9)


def _uuid_or_none(value: bytes) -> str | None:
    return str(uuid.UUID(bytes=value)) if any(value) else None


def last_common_transaction(before: Subvolume, after: Subvolume) -> int | None:
    """Return the transaction since which only `after` may have changed.

    At that transaction both had the same content. None if they are not related in that way. A
    snapshot is created while its transaction is being committed: a change in that very transaction
    may or may not be in the snapshot.
    """
    if after.parent_uuid == before.uuid:
        common = after.otransid
    elif after.parent_uuid is not None and after.parent_uuid == before.parent_uuid:
        common = before.otransid
    else:
        return None
    has_before_changed = before.ctransid > common or before.otransid > after.otransid
    return None if has_before_changed else common


def sync_filesystem(path: str) -> None:
    """Commit pending changes of the btrfs at `path`, so that ctransids in it are current."""
    with source_errors(f"committing pending changes below {path}"):
        try:
            btrfsutil.sync(path)
        except OSError as error:
            if error.errno not in _NOTHING_TO_COMMIT:
                raise


def newest_send_protocol() -> int:
    """Return the newest version of the send stream that the kernel supports."""
    try:
        with open(_SEND_PROTOCOL_FILE, encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):  # kernels before 5.18 lack the file and support version 1
        return 1


def pin_problem(error: OSError) -> str:
    """Return in a few words why no pin could be created."""
    return _PIN_PROBLEMS.get(error.errno or 0, error.strerror or str(error))


def create_pin(source: str, pin: str) -> None:
    """Create the read-only snapshot `pin` of the subvolume at `source`.

    Raises PinImpossible; its message is only the reason.
    """
    try:
        btrfsutil.create_snapshot(source, pin, read_only=True)
    except OSError as error:
        raise PinImpossible(
            pin_problem(error),
            hint="the source must be a writable btrfs with free space for its metadata",
        ) from error


def delete_pin(pin: str, *, shown: str) -> None:
    """Delete the read-only snapshot at `pin`, which is called `shown` in an error.

    The caller has made sure that it is a pin; it is not an error if it does not exist.
    """
    try:
        btrfsutil.delete_subvolume(pin)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise PinImpossible(
                f"cannot delete the pin {shown}: {error.strerror}",
                hint="check the source file system: mount, df, btrfs filesystem usage",
            ) from error
