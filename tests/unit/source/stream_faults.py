"""Send streams with faults: whole ones that use every command, and mutations of them.

Most mutations get the right checksums, so that they come as far as the replay. Each stream follows
from its number alone.
"""

import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import lzo
import zstandard

from dsgmigd.source.send_stream import Command, Field, Kind
from tests.unit import send_commands as send
from tests.unit.send_streams import attribute_bytes, command_bytes, stream_bytes

# No driver has this number, so nothing happens if the device is opened after all.
DEVICE = os.makedev(3000, 3)
ACCESS_ACL = bytes.fromhex(
    "02000000 0100 0600 ffffffff 0200 0400 07000000 0400 0400 ffffffff"
    "1000 0400 ffffffff 2000 0400 ffffffff"
)
# An extent of LZO, as btrfs frames it.
_SEGMENT = lzo.compress(b"something", 1, False)  # noqa: FBT003
LZO = struct.pack("<II", len(_SEGMENT) + 8, len(_SEGMENT)) + _SEGMENT

# Each can be replayed onto the staging directory of the test.
NAMES = [
    send.make_directory(b"o300-9-0"),
    send.rename(b"o300-9-0", b"new"),
    send.make_file(b"new/f"),
    send.command(Kind.MKFIFO, b"new/pipe", ino=1, rdev=0, mode=0o10644),
    send.command(Kind.MKSOCK, b"new/socket", ino=1, rdev=0, mode=0o140644),
    send.command(Kind.MKNOD, b"new/node", ino=1, rdev=DEVICE, mode=stat.S_IFIFO | 0o600),
    send.make_symlink(b"new/l", b"../f"),
    send.link(b"new/again", b"f"),
    send.rename(b"d/g", b"new/g"),
    send.rename(b"d", b"new/d"),
    send.unlink(b"h"),
    send.remove_directory(b"empty"),
]
CONTENTS = [
    send.make_file(b"new"),
    send.write(b"new", b"some data"),
    send.write(b"new", b"more", 4096),
    send.clone(b"new", b"f", send.OWN_UUID, at=100, origin_at=0, size=4),
    send.clone(b"new", b"d/g", send.PARENT_UUID, at=200, origin_at=1, size=3),
    send.write(b"f", b"other"),
    send.write_encoded(b"f", zlib.compress(b"encoded"), compression=1, length=4096, size=7),
    send.write_encoded(b"f", zstandard.compress(b"encoded"), compression=2, length=7),
    send.write_encoded(b"f", LZO, compression=3, length=4096, size=9),
    send.truncate(b"f", 3),
    send.allocate(b"d/g", mode=3, offset=0, size=2),
    send.allocate(b"h", mode=0, offset=0, size=100),
]
ATTRIBUTES = [
    send.change_mode(b"", 0o755),
    send.set_times(b"", atime=5, mtime=6),
    send.change_owner(b"f", os.getuid(), os.getgid()),
    send.change_mode(b"f", 0o4755),
    send.set_xattr(b"d", b"user.a", b"value"),
    send.set_xattr(b"d", b"user.b", b""),
    send.remove_xattr(b"d", b"user.a"),
    send.set_xattr(b"f", b"system.posix_acl_access", ACCESS_ACL),
    send.command(Kind.FILEATTR, b"f", fileattr=1),
    send.command(Kind.ENABLE_VERITY, b"f", verity_algorithm=b"\1", verity_block_size=4096),
    send.write(b"f", b"x"),
    send.set_times(b"d/g", atime=5, mtime=6 * 10**18 + 1),
]
BORDER = [
    send.make_directory(b".snap"),
    send.make_file(b".snap/log"),
    send.write(b".snap/log", b"x"),
    send.rename(b"HEAD", b"main"),
    send.write(b"main", b"x"),
    send.link(b"d/again", b"lost+found/f"),
    send.rename(b"d", b"e"),
    send.clone(b"f", b"HEAD", send.OWN_UUID, at=0, origin_at=0, size=1),
    send.rename(b"e", b".snap/e"),
    send.unlink(b".snap/log"),
]
WHOLE = {"names": NAMES, "contents": CONTENTS, "attributes": ATTRIBUTES, "border": BORDER}
# Nobody asks for these: they end a replay.
UNASKED = [
    send.command(Kind.SUBVOL, b"s2", uuid=send.OWN_UUID, ctransid=9),
    send.command(Kind.UPDATE_EXTENT, b"f", file_offset=0, size=4096),
]

_PATHS = frozenset({Field.PATH, Field.PATH_TO, Field.PATH_LINK, Field.CLONE_PATH})
_OUTWARD = (
    *(b"..", b"../outside/new", b"../outside/secret", b"d/../../outside/secret", b"d/.."),
    *(b"/etc/passwd", b"/outside"),
)
# `file` and `way` are symbolic links that lead out.
_THROUGH = (b"file", b"way", b"way/secret", b"way/new", b"way/sub/deep", b"d/way/secret", b"file/x")
_ODD_PATHS = (
    *(b"", b".", b"/", b"\0", b"a\0b", b"d/", b"d//g", b"./f", b".snap/x", b".snap", b"HEAD"),
    *(b".dsg", b".dsg/last-sync.json", b"pipe", b"f/x", b"absent", b"\xff\n "),
    *(b"x" * 256, b"y/" * 2100 + b"y"),
)
_ODD_NUMBERS = (
    *(0, 1, 4096, 65_535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, 1 << 40),
    *((1 << 63) - 1, 1 << 63, (1 << 64) - 1),
    *(stat.S_IFCHR | 0o600, stat.S_IFBLK | 0o600, stat.S_IFDIR | 0o700, stat.S_IFLNK | 0o777),
    stat.S_IFREG | 0o6777,
)


@dataclass
class Part:
    """One command, to be spoiled: `spoil` changes its attributes when they are bytes already."""

    number: int
    attributes: list[tuple[int, bytes]]
    spoil: Callable[[bytes], bytes] = bytes

    def encode(self, version: int) -> bytes:
        """Return the command with the right length and checksum for what it holds."""
        pieces = (attribute_bytes(number, data, version) for number, data in self.attributes)
        return command_bytes(self.number, self.spoil(b"".join(pieces)))


Parts = list[Part]


def whole_stream(commands: list[Command], version: int) -> bytes:
    """Return a stream without a fault."""
    head = stream_bytes([], version=version)
    return head + b"".join(part.encode(version) for part in _parts(commands))


def faulty_stream(number: int) -> tuple[bytes, bool]:
    """Return a stream with faults, and whether it is `damaged`: its checksums were left wrong."""
    random = Random(f"faulty stream {number}")  # noqa: S311
    version = random.choice((1, 2, 3))
    if random.random() < 0.2:
        return _damage(random, whole_stream(random.choice([*WHOLE.values()]), version)), True
    parts = _parts(random.choice([*WHOLE.values(), UNASKED, CONTENTS + BORDER]))
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(_MUTATIONS)(random, parts)
    encoded = b"".join(part.encode(version) for part in parts)
    return stream_bytes([], version=version) + encoded, False


def _parts(commands: list[Command]) -> Parts:
    parts = [
        Part(int(kind), [(field, bytes(data)) for field, data in attributes.items()])
        for kind, attributes in (send.begin(), *commands)
    ]
    return [*parts, Part(int(Kind.END), [])]


# Faults of the bytes: the checksum tells.


def _damage(random: Random, stream: bytes) -> bytes:
    start = len(stream_bytes([]))
    position = random.randrange(start, len(stream))
    kind = random.choice(("flip", "cut", "length", "lose"))
    if kind == "cut":
        return stream[:position]
    if kind == "lose":
        return stream[:position] + stream[position + random.randint(1, 9) :]
    damaged = bytearray(stream)
    if kind == "length":
        struct.pack_into("<I", damaged, start, random.choice((0, 1, 3, 1 << 24, (1 << 32) - 1)))
    else:
        damaged[position] ^= 1 << random.randrange(8)
    return bytes(damaged)


# Faults with right checksums: commands.


def _swap(random: Random, parts: Parts) -> None:
    one, other = random.randrange(len(parts)), random.randrange(len(parts))
    parts[one], parts[other] = parts[other], parts[one]


def _repeat(random: Random, parts: Parts) -> None:
    parts.insert(random.randrange(len(parts)), random.choice(parts))


def _drop(random: Random, parts: Parts) -> None:
    if len(parts) > 1:
        parts.pop(random.randrange(len(parts)))


def _change_kind(random: Random, parts: Parts) -> None:
    random.choice(parts).number = random.choice([*map(int, Kind), 0, 27, 999])


# Attributes.


def _change_path(random: Random, parts: Parts) -> None:
    known = [data for part in parts for field, data in part.attributes if field in _PATHS]
    value = random.choice(random.choice((_OUTWARD, _THROUGH, _ODD_PATHS, known or _ODD_PATHS)))
    _replace(random, parts, lambda field, _: value if field in _PATHS else None)


def _change_number(random: Random, parts: Parts) -> None:
    value = random.choice(_ODD_NUMBERS).to_bytes(8, "little")
    # A random device could be one that exists.
    _replace(
        random,
        parts,
        lambda field, old: value if len(old) == len(value) and field != Field.RDEV else None,
    )


def _resize(random: Random, parts: Parts) -> None:
    size = random.choice((0, 1, 3, 9, 300))
    _replace(random, parts, lambda _, old: old[:size].ljust(size, b"\x7f"))


def _replace(random: Random, parts: Parts, change: Callable[[int, bytes], bytes | None]) -> None:
    """Change one of the attributes for which `change` has another value."""
    places = [
        (part, index)
        for part in parts
        for index, (field, data) in enumerate(part.attributes)
        if change(field, data) is not None
    ]
    if places:
        part, index = random.choice(places)
        field, data = part.attributes[index]
        part.attributes[index] = (field, change(field, data) or b"")


def _drop_attribute(random: Random, parts: Parts) -> None:
    part = random.choice(parts)
    if part.attributes:
        part.attributes.pop(random.randrange(len(part.attributes)))


def _borrow_attribute(random: Random, parts: Parts) -> None:
    lender = random.choice(parts)
    if lender.attributes:
        random.choice(parts).attributes.append(random.choice(lender.attributes))


# Attributes as bytes.


def _flip(random: Random, parts: Parts) -> None:
    place = random.random()
    bit = random.randrange(8)

    def spoil(payload: bytes) -> bytes:
        flipped = bytearray(payload)
        if flipped:
            flipped[int(place * len(flipped))] ^= 1 << bit
        return bytes(flipped)

    random.choice(parts).spoil = spoil


def _cut(random: Random, parts: Parts) -> None:
    kept = random.random()
    random.choice(parts).spoil = lambda payload: payload[: int(kept * len(payload))]


def _change_length(random: Random, parts: Parts) -> None:
    length = struct.pack("<H", random.choice((0, 1, 2, 7, 255, 0xFFFF)))
    random.choice(parts).spoil = lambda payload: payload[:2] + length + payload[4:]


_MUTATIONS = (
    *(_swap, _repeat, _drop, _change_kind, _change_path, _change_path, _change_path),
    *(_change_number, _resize, _drop_attribute, _borrow_attribute, _flip, _cut, _change_length),
)
