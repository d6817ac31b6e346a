r"""Read a btrfs send stream, versions 1 to 3, command by command.

Format: Linux `fs/btrfs/send.h` and the "Send stream format" page of the btrfs documentation. The
stream is `btrfs-stream\0` and a u32 version, then commands: u32 length of the attributes, u16
command, u32 crc32c over the whole command with this field as zero (seed 0, not inverted). An
attribute is u16 type, u16 length, data; from version 2 on, DATA has no length and runs to the end
of its command.

A signal that stops the program, and a host that freezes it to sleep, interrupt the kernel's work.
That begins anew as soon as the program goes on: in the middle of a stream comes another header.

Raises: StreamCorrupt, which gives the offset of the invalid command in bytes; StreamRestarted.
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

import crc32c

from dsgmigd.errors import StreamCorrupt, StreamRestarted

MAGIC = b"btrfs-stream\0"
NEWEST_VERSION = 3

_VERSION = struct.Struct("<I")
_COMMAND = struct.Struct("<IHI")
_ATTRIBUTE = struct.Struct("<HH")
_TYPE_BYTES = 2
_CRC_OFFSET = 6
_NO_CRC = bytes(4)
_INVERTED = 0xFFFFFFFF
# A command has at most one extent of data and a few paths; a longer one is invalid.
_COMMAND_LIMIT_BYTES = 16 * 1024 * 1024
_CUT_OFF = "the stream ends in the middle of a command"


class Kind(IntEnum):
    """Commands of a send stream (enum btrfs_send_cmd)."""

    SUBVOL = 1
    SNAPSHOT = 2
    MKFILE = 3
    MKDIR = 4
    MKNOD = 5
    MKFIFO = 6
    MKSOCK = 7
    SYMLINK = 8
    RENAME = 9
    LINK = 10
    UNLINK = 11
    RMDIR = 12
    SET_XATTR = 13
    REMOVE_XATTR = 14
    WRITE = 15
    CLONE = 16
    TRUNCATE = 17
    CHMOD = 18
    CHOWN = 19
    UTIMES = 20
    END = 21
    UPDATE_EXTENT = 22
    FALLOCATE = 23
    FILEATTR = 24
    ENCODED_WRITE = 25
    ENABLE_VERITY = 26


class Field(IntEnum):
    """Attributes of a command (enum btrfs_send_attr)."""

    UUID = 1
    CTRANSID = 2
    INO = 3
    SIZE = 4
    MODE = 5
    UID = 6
    GID = 7
    RDEV = 8
    CTIME = 9
    MTIME = 10
    ATIME = 11
    OTIME = 12
    XATTR_NAME = 13
    XATTR_DATA = 14
    PATH = 15
    PATH_TO = 16
    PATH_LINK = 17
    FILE_OFFSET = 18
    DATA = 19
    CLONE_UUID = 20
    CLONE_CTRANSID = 21
    CLONE_PATH = 22
    CLONE_OFFSET = 23
    CLONE_LEN = 24
    FALLOCATE_MODE = 25
    FILEATTR = 26
    UNENCODED_FILE_LEN = 27
    UNENCODED_LEN = 28
    UNENCODED_OFFSET = 29
    COMPRESSION = 30
    ENCRYPTION = 31
    VERITY_ALGORITHM = 32
    VERITY_BLOCK_SIZE = 33
    VERITY_SALT_DATA = 34
    VERITY_SIG_DATA = 35


Attributes = dict[int, bytes | memoryview]
"""What a command says, by `Field`; data to write is a view, which needs no copy."""
Command = tuple[Kind, Attributes]

_KINDS = {int(kind): kind for kind in Kind}
_DATA = int(Field.DATA)
_END = int(Kind.END)


def read_commands(read: Callable[[int], bytes]) -> Iterator[Command]:
    """Yield the commands of one stream up to its END, which is not included.

    `read` must return exactly the requested number of bytes, fewer only at the end of the input.
    The header of a command is read with the command before it, nothing is read after END.
    """
    version = _read_header(read)
    offset = len(MAGIC) + _VERSION.size
    header = _read_exactly(read, _COMMAND.size, offset)
    while True:
        length, number, expected_crc = _COMMAND.unpack(header)
        if length > _COMMAND_LIMIT_BYTES:
            raise _invalid(f"a command of {length} bytes", offset, header, read)
        is_end = number == _END
        size = length if is_end else length + _COMMAND.size
        data = read(size)
        if len(data) != size:
            raise _invalid(_CUT_OFF, offset, header + data, read)
        view = memoryview(data)
        # crc32c() inverts before and after; the stream's checksum does neither.
        blank = crc32c.crc32c(header[:_CRC_OFFSET] + _NO_CRC, _INVERTED)
        if crc32c.crc32c(view[:length], blank) ^ _INVERTED != expected_crc:
            message = "the checksum of a command does not match"
            raise _invalid(message, offset, header + data, read)
        if is_end:
            return
        kind = _KINDS.get(number)
        if kind is None:
            raise _corrupt(f"unknown command {number}", offset)
        yield kind, _split_attributes(data, length, version, offset)
        offset += _COMMAND.size + length
        header = data[length:]


def _read_header(read: Callable[[int], bytes]) -> int:
    header = _read_exactly(read, len(MAGIC) + _VERSION.size, 0)
    if not header.startswith(MAGIC):
        raise _corrupt("the input is not a btrfs send stream", 0)
    (version,) = _VERSION.unpack_from(header, len(MAGIC))
    if not 1 <= version <= NEWEST_VERSION:
        raise _corrupt(
            f"unsupported stream version {version}; supported are 1 to {NEWEST_VERSION}", 0
        )
    return int(version)


def _read_exactly(read: Callable[[int], bytes], count: int, offset: int) -> bytes:
    data = read(count)
    if len(data) != count:
        raise _corrupt(_CUT_OFF, offset)
    return data


def _split_attributes(data: bytes, end: int, version: int, offset: int) -> Attributes:
    """Return the attributes in the first `end` bytes of `data`, which has a header behind them."""
    attributes: Attributes = {}
    position = 0
    while position < end:
        number, length = _ATTRIBUTE.unpack_from(data, position)
        start = position + _ATTRIBUTE.size
        if number == _DATA and version > 1:
            start, length = position + _TYPE_BYTES, end - position - _TYPE_BYTES
        position = start + length
        if position > end or start > end:
            raise _corrupt("an attribute is longer than its command", offset)
        if number == _DATA:
            attributes[_DATA] = memoryview(data)[start:position]
        else:
            attributes[number] = data[start:position]
    return attributes


def _invalid(
    message: str, offset: int, begun: bytes, read: Callable[[int], bytes]
) -> StreamCorrupt | StreamRestarted:
    """Return the error for an invalid command, of which `begun` was read."""
    # If a new stream cut it off, this much of that one's header follows in any case.
    if MAGIC[: _COMMAND.size] not in begun + read(len(MAGIC)):
        return _corrupt(message, offset)
    return StreamRestarted(
        f"btrfs send stream, offset {offset}: the stream began anew in the middle",
        hint="btrfs send was stopped, or frozen with its host, and went on; staging stays at its "
        "last verified snapshot: submit again",
    )


def _corrupt(message: str, offset: int) -> StreamCorrupt:
    return StreamCorrupt(
        f"btrfs send stream, offset {offset}: {message}",
        hint="staging stays at its last verified snapshot; check the source, then submit again",
    )
