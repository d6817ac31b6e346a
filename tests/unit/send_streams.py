"""An encoder of send streams, written from the format and not from the reader."""

import struct
from collections.abc import Iterable

Pieces = dict[int, bytes]


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the checksum as a stream has it: seed 0, not inverted."""
    value = 0
    for byte in data:
        value = value >> 8 ^ CRC_TABLE[(value ^ byte) & 0xFF]
    return value


def command_bytes(number: int, payload: bytes) -> bytes:
    """Return a command with its right length and checksum."""
    crc = crc32c(struct.pack("<IHI", len(payload), number, 0) + payload)
    return struct.pack("<IHI", len(payload), number, crc) + payload


def attribute_bytes(number: int, data: bytes, version: int) -> bytes:
    """Return an attribute; DATA of version 2 has no length."""
    if number == 19 and version > 1:
        return struct.pack("<H", number) + data
    return struct.pack("<HH", number, len(data)) + data


def stream_bytes(commands: Iterable[tuple[int, Pieces]], *, version: int = 1) -> bytes:
    """Return a whole stream; an END is written only if it is among the commands."""
    body = [
        command_bytes(
            number,
            b"".join(attribute_bytes(key, data, version) for key, data in pieces.items()),
        )
        for number, pieces in commands
    ]
    return b"btrfs-stream\0" + struct.pack("<I", version) + b"".join(body)
