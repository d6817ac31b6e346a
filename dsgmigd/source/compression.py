"""Decode what btrfs compressed: the data of an ENCODED_WRITE command of a send stream.

The data of an extent is one zlib stream, one zstd frame, or a sequence of LZO segments; padding may
follow. It ends with the last byte of the file or, depending on the kernel, with zeros up to the end
of a sector; the extent may be shorter or longer than that.
Format: BTRFS_ENCODED_IO_COMPRESSION_* in `linux/btrfs.h`, and Linux `fs/btrfs/lzo.c`.

Guarantees: hardly more than the extent is decoded, whatever the data says.

Raises: ValueError, for data that is not what it is said to be.
"""

import zlib

import lzo
import zstandard

_LONGEST_EXTENT_BYTES = 128 * 1024  # BTRFS_MAX_UNCOMPRESSED
_LARGEST_SECTOR_BYTES = 64 * 1024
_NONE, _ZLIB, _ZSTD = 0, 1, 2
# LZO works on sectors, one segment for each; the number of the compression says how large they are.
_LZO_SECTOR_BYTES = {3: 4096, 4: 8192, 5: 16_384, 6: 32_768, 7: 65_536}
_LZO_HEADER_BYTES = 4


def decode_extent(compression: int, data: memoryview, length: int) -> bytes:
    """Return the extent of `length` bytes that `data` encodes."""
    if length > _LONGEST_EXTENT_BYTES:
        raise ValueError(f"an extent of {length} bytes is longer than btrfs encodes")
    limit = length + -length % _LARGEST_SECTOR_BYTES
    if compression == _NONE:
        decoded = bytes(data)
    elif compression == _ZLIB:
        decoded = _decode_zlib(data, limit)
    elif compression == _ZSTD:
        decoded = _decode_zstd(data, limit)
    elif compression in _LZO_SECTOR_BYTES:
        decoded = _decode_lzo(data, limit, _LZO_SECTOR_BYTES[compression])
    else:
        raise ValueError(f"compression {compression} is unknown; set send_protocol = 2")
    if len(decoded) > limit or any(decoded[length:]):
        raise ValueError(f"the data is longer than its extent of {length} bytes")
    return decoded[:length].ljust(length, b"\0")


def _decode_zlib(data: memoryview, limit: int) -> bytes:
    decoder = zlib.decompressobj()
    try:
        decoded = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"the zlib stream is invalid: {error}") from error
    if not decoder.eof and len(decoded) <= limit:
        raise ValueError("the zlib stream is cut off")
    return decoded


def _decode_zstd(data: memoryview, limit: int) -> bytes:
    try:
        # A frame may say how long it is; the library then disregards the limit.
        if zstandard.frame_content_size(data) > limit:
            raise ValueError("the zstd frame is longer than its extent")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise ValueError(f"the zstd frame is invalid: {error}") from error


def _decode_lzo(data: memoryview, limit: int, sector_bytes: int) -> bytes:
    """Decode segments; before each is its length, and before the first that of everything.

    A length does not cross the border of a sector.
    """
    end = _read_length(data, 0)
    if not _LZO_HEADER_BYTES < end <= len(data):
        raise ValueError("the LZO data is cut off")
    position = _LZO_HEADER_BYTES
    decoded = bytearray()
    while position < end and len(decoded) <= limit:
        start = position + _LZO_HEADER_BYTES
        position = start + _read_length(data, position)
        if position > end:
            raise ValueError("an LZO segment is cut off")
        try:
            decoded += lzo.decompress(bytes(data[start:position]), False, sector_bytes)  # noqa: FBT003
        except lzo.error as error:
            raise ValueError(f"the LZO data is invalid: {error}") from error
        left_in_sector = -position % sector_bytes
        if left_in_sector < _LZO_HEADER_BYTES:  # padding, after the last segment too
            position += left_in_sector
    return bytes(decoded)


def _read_length(data: memoryview, position: int) -> int:
    return int.from_bytes(data[position : position + _LZO_HEADER_BYTES], "little")
