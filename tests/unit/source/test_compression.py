"""What btrfs compressed is decoded, and nothing is longer than its extent."""

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import lzo
import pytest
import zstandard

from dsgmigd.source.compression import decode_extent

EXTENT = 128 * 1024
TEXT = b"".join(b"a line of a text, number %d\n" % (number * 7919) for number in range(5000))
NOISE = random.Random(1).randbytes(EXTENT)  # noqa: S311
PADDING = bytes(3000)


def zlib_stream(content: bytes) -> bytes:
    return zlib.compress(content, 3)


def zstd_frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def zstd_frame_of_unknown_length(content: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content) + compressor.flush()


def lzo_segments(content: bytes, sector: int = 4096) -> bytes:
    """Encode as the comment in fs/btrfs/lzo.c says."""
    encoded = bytearray(4)
    for start in range(0, len(content), sector):
        segment = lzo.compress(content[start : start + sector], 1, False)  # noqa: FBT003
        encoded += len(segment).to_bytes(4, "little") + segment
        if -len(encoded) % sector < 4:
            encoded += bytes(-len(encoded) % sector)
    encoded[:4] = len(encoded).to_bytes(4, "little")
    return bytes(encoded)


ENCODERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "zlib": (1, zlib_stream),
    "zstd": (2, zstd_frame),
    "zstd of unknown length": (2, zstd_frame_of_unknown_length),
    "lzo": (3, lzo_segments),
    "lzo of 64 KiB": (7, lambda content: lzo_segments(content, 65_536)),
}
each_encoder = pytest.mark.parametrize(("number", "encode"), ENCODERS.values(), ids=ENCODERS)


def decode(number: int, data: bytes, length: int) -> bytes:
    return decode_extent(number, memoryview(data), length)


@each_encoder
@pytest.mark.parametrize("content", [TEXT[:EXTENT], NOISE, TEXT[:1], TEXT[:4096], NOISE[:70_000]])
def test_an_extent_is_decoded_whatever_follows_its_data(
    number: int, encode: Callable[[bytes], bytes], content: bytes
) -> None:
    assert decode(number, encode(content), len(content)) == content
    assert decode(number, encode(content) + PADDING, len(content)) == content


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_lzo_data_may_end_with_the_padding_of_a_sector(gap: int) -> None:
    for length in range(3000, 4096):
        segment = lzo.compress(NOISE[:length], 1, False)  # noqa: FBT003
        if 8 + len(segment) + gap == 4096:
            data = struct.pack("<II", 4096, len(segment)) + segment + bytes(gap)
            assert decode(3, data, length) == NOISE[:length]
            return
    pytest.fail("no segment has the length")


@each_encoder
def test_the_rest_of_an_extent_is_zeros(number: int, encode: Callable[[bytes], bytes]) -> None:
    assert decode(number, encode(b"the end"), 4096) == b"the end" + bytes(4089)


@each_encoder
def test_the_data_of_a_short_extent_may_go_on_with_zeros(
    number: int, encode: Callable[[bytes], bytes]
) -> None:
    """Linux 7.2 encodes a whole sector of a file that lies inline."""
    assert decode(number, encode(TEXT[:1500].ljust(4096, b"\0")), 1500) == TEXT[:1500]


@each_encoder
def test_more_than_an_extent_is_refused_and_not_decoded(
    number: int, encode: Callable[[bytes], bytes]
) -> None:
    bomb = encode(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"longer|invalid"):
        decode(number, bomb, EXTENT)
    assert tracemalloc.get_traced_memory()[1] < 8 * EXTENT
    tracemalloc.stop()
    with pytest.raises(ValueError, match=r"longer|invalid"):
        decode(number, encode(TEXT[:4097]), 4096)


@each_encoder
def test_damaged_data_is_a_value_error_or_has_the_right_length(
    number: int, encode: Callable[[bytes], bytes]
) -> None:
    whole = encode(TEXT[:10_000])
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(ValueError, match=r"cut off|invalid"):
            decode(number, whole[:length], 12_288)
    chance = random.Random(2)  # noqa: S311
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            assert len(decode(number, bytes(damaged), 12_288)) == 12_288
        except ValueError:
            continue


def test_data_that_is_not_compressed_is_taken_as_it_is() -> None:
    assert decode(0, b"data", 4) == b"data"
    with pytest.raises(ValueError, match="longer than its extent of 3"):
        decode(0, b"data", 3)


def test_an_unknown_compression_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="compression 8 is unknown; set send_protocol = 2"):
        decode(8, b"data", 4)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_an_extent_longer_than_any_of_btrfs_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="extent of 131073 bytes is longer"):
        decode(number, b"", EXTENT + 1)
