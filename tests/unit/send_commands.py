"""Commands of a send stream, as a stream reader hands them on."""

import struct

from dsgmigd.source.send_stream import Command, Field, Kind

OWN_UUID = b"the sent one    "
PARENT_UUID = b"its parent      "
OWN_TRANSACTION, PARENT_TRANSACTION = 9, 8


def command(kind: Kind, path: bytes, **fields: bytes | int) -> Command:
    """Return a command; fields are named like `Field`, in lower case, numbers take 8 bytes."""
    pieces = {Field.PATH: path}
    for name, value in fields.items():
        data = value.to_bytes(8, "little") if isinstance(value, int) else value
        pieces[Field[name.upper()]] = data
    return kind, {number: memoryview(data) for number, data in pieces.items()}


def begin(uuid: bytes = OWN_UUID, parent_uuid: bytes = PARENT_UUID) -> Command:
    """Return the command that opens every stream with a parent."""
    return command(
        Kind.SNAPSHOT,
        b"s2",
        uuid=uuid,
        ctransid=OWN_TRANSACTION,
        clone_uuid=parent_uuid,
        clone_ctransid=PARENT_TRANSACTION,
    )


def make_file(path: bytes) -> Command:
    """Return the command for a new, empty file."""
    return command(Kind.MKFILE, path, ino=300)


def make_directory(path: bytes) -> Command:
    """Return the command for a new, empty directory."""
    return command(Kind.MKDIR, path, ino=300)


def make_symlink(path: bytes, target: bytes) -> Command:
    """Return the command for a new symbolic link."""
    return command(Kind.SYMLINK, path, ino=300, path_link=target)


def write(path: bytes, data: bytes, offset: int = 0) -> Command:
    """Return the command that writes `data` at `offset`."""
    return command(Kind.WRITE, path, file_offset=offset, data=data)


def write_encoded(
    path: bytes,
    data: bytes,
    *,
    compression: int,
    length: int,
    start: int = 0,
    size: int | None = None,
    **fields: int,
) -> Command:
    """Return the command that writes `size` bytes, from `start`, of an extent of `length` bytes."""
    return command(
        Kind.ENCODED_WRITE,
        path,
        **{"file_offset": 0, **fields},
        unencoded_file_len=length - start if size is None else size,
        unencoded_len=length,
        unencoded_offset=start,
        compression=compression.to_bytes(4, "little"),
        data=data,
    )


def clone(
    path: bytes,
    origin: bytes,
    uuid: bytes,
    *,
    at: int,
    origin_at: int,
    size: int,
    transaction: int | None = None,
) -> Command:
    """Return the command that takes `size` bytes from another file."""
    if transaction is None:
        transaction = OWN_TRANSACTION if uuid == OWN_UUID else PARENT_TRANSACTION
    return command(
        Kind.CLONE,
        path,
        file_offset=at,
        clone_len=size,
        clone_uuid=uuid,
        clone_ctransid=transaction,
        clone_path=origin,
        clone_offset=origin_at,
    )


def truncate(path: bytes, size: int) -> Command:
    """Return the command that sets a file's size."""
    return command(Kind.TRUNCATE, path, size=size)


def rename(old: bytes, new: bytes) -> Command:
    """Return the command that renames."""
    return command(Kind.RENAME, old, path_to=new)


def allocate(path: bytes, *, mode: int, offset: int, size: int) -> Command:
    """Return the command for fallocate(2)."""
    return command(
        Kind.FALLOCATE,
        path,
        fallocate_mode=mode.to_bytes(4, "little"),
        file_offset=offset,
        size=size,
    )


def link(path: bytes, existing: bytes) -> Command:
    """Return the command that makes `path` another name of `existing`."""
    return command(Kind.LINK, path, path_link=existing)


def unlink(path: bytes) -> Command:
    """Return the command that removes a name of a file."""
    return command(Kind.UNLINK, path)


def remove_directory(path: bytes) -> Command:
    """Return the command that removes an empty directory."""
    return command(Kind.RMDIR, path)


def change_mode(path: bytes, mode: int) -> Command:
    """Return the command that sets permissions."""
    return command(Kind.CHMOD, path, mode=mode)


def change_owner(path: bytes, uid: int, gid: int) -> Command:
    """Return the command that sets owner and group."""
    return command(Kind.CHOWN, path, uid=uid, gid=gid)


def set_times(path: bytes, *, atime: int, mtime: int) -> Command:
    """Return the command that sets times, given in nanoseconds since the epoch."""
    return command(
        Kind.UTIMES, path, atime=_timespec(atime), mtime=_timespec(mtime), ctime=_timespec(0)
    )


def set_xattr(path: bytes, name: bytes, value: bytes) -> Command:
    """Return the command that sets an extended attribute."""
    return command(Kind.SET_XATTR, path, xattr_name=name, xattr_data=value)


def remove_xattr(path: bytes, name: bytes) -> Command:
    """Return the command that removes an extended attribute."""
    return command(Kind.REMOVE_XATTR, path, xattr_name=name)


def _timespec(nanoseconds: int) -> bytes:
    return struct.pack("<qI", *divmod(nanoseconds, 10**9))
