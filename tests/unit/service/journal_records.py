"""Journal records, decoded as journald does it."""

import struct


def decode_record(data: bytes) -> dict[str, bytes]:
    """Read the native protocol as its specification says, independent of the encoder."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", data[:8])
            value, end, data = (
                data[8 : 8 + length],
                data[8 + length : 9 + length],
                data[9 + length :],
            )
            assert end == b"\n"
        fields[name.decode()] = value
    return fields
