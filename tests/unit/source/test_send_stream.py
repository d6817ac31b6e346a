"""Send streams, built by an encoder of the tests' own: what is read, and what is refused."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.errors import StreamCorrupt, StreamRestarted
from dsgmigd.source.send_stream import Field, Kind, read_commands
from tests.unit.send_streams import CRC_TABLE, Pieces, command_bytes, stream_bytes

END = (21, Pieces())


def read(stream: bytes) -> list[tuple[int, Pieces]]:
    return [
        (int(kind), {number: bytes(data) for number, data in attributes.items()})
        for kind, attributes in read_commands(io.BytesIO(stream).read)
    ]


SMALL = [
    (1, {15: b"s1", 1: bytes(16), 2: (7).to_bytes(8, "little")}),
    (3, {15: b"o257-7-0", 3: (257).to_bytes(8, "little")}),
    (8, {15: b"l", 3: b"\2", 17: b"to"}),
    (15, {15: b"o257-7-0", 18: bytes(8), 19: b"some data"}),
]


def test_the_checksum_of_this_test_has_the_published_value() -> None:
    # RFC 3720, B.4: 32 bytes of zeros, with the usual inversion before and after.
    value = 0xFFFFFFFF
    for _ in range(32):
        value = value >> 8 ^ CRC_TABLE[value & 0xFF]
    assert value ^ 0xFFFFFFFF == 0x8A9136AA


@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_is_read_command_by_command_up_to_its_end(version: int) -> None:
    assert read(stream_bytes([*SMALL, END], version=version)) == SMALL


def test_nothing_after_the_end_command_is_read() -> None:
    source = io.BytesIO(stream_bytes([*SMALL, END]) + b"the next stream")
    assert len(list(read_commands(source.read))) == len(SMALL)
    assert source.read() == b"the next stream"


def test_data_of_version_2_may_be_longer_than_a_length_field_can_hold() -> None:
    data = bytes(range(256)) * 300
    write = (15, {15: b"f", 18: bytes(8), 19: data})
    assert read(stream_bytes([write, END], version=2)) == [write]


def test_data_of_version_1_ends_where_its_length_says() -> None:
    write = (15, {15: b"f", 19: b"abc", 18: bytes(8)})
    assert read(stream_bytes([write, END])) == [write]


def test_empty_attributes_and_commands_without_any_are_read() -> None:
    commands = [(20, {15: b""}), (9, Pieces())]
    assert read(stream_bytes([*commands, END])) == commands


ATTRIBUTES = st.dictionaries(
    st.integers(0, 40).filter(lambda number: number != 19), st.binary(max_size=40), max_size=5
)


@given(
    st.lists(st.tuples(st.sampled_from([int(kind) for kind in Kind if kind != 21]), ATTRIBUTES)),
    st.none() | st.binary(max_size=50),
    st.sampled_from([1, 2, 3]),
)
def test_what_was_encoded_is_read_back(
    commands: list[tuple[int, Pieces]], data: bytes | None, version: int
) -> None:
    if data is not None:
        commands = [(number, {**pieces, 19: data}) for number, pieces in commands]
    assert read(stream_bytes([*commands, END], version=version)) == commands


@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_that_ends_anywhere_before_its_end_is_corrupt(version: int) -> None:
    whole = stream_bytes([*SMALL, END], version=version)
    for length in range(len(whole)):
        with pytest.raises(StreamCorrupt, match="offset"):
            read(whole[:length])


def test_a_stream_with_any_bit_of_a_command_flipped_is_corrupt() -> None:
    whole = stream_bytes([*SMALL, END])
    for position in range(17, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            with pytest.raises(StreamCorrupt):
                read(bytes(damaged))


@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_that_begins_anew_at_any_byte_is_told_from_a_damaged_one(version: int) -> None:
    whole = stream_bytes([*SMALL, END], version=version)
    for position in range(17, len(whole)):
        with pytest.raises(StreamRestarted, match="began anew in the middle") as raised:
            read(whole[:position] + whole)
        assert raised.value.error_class == "transient"


def test_the_offset_of_the_damaged_command_is_named() -> None:
    whole = bytearray(stream_bytes([*SMALL, END]))
    offset = len(stream_bytes(SMALL[:2]))
    whole[offset + 12] ^= 1
    with pytest.raises(StreamCorrupt, match=rf"offset {offset}: the checksum"):
        read(bytes(whole))


def test_commands_before_the_damage_are_given_and_none_after() -> None:
    whole = bytearray(stream_bytes([*SMALL, END]))
    whole[-1] ^= 1
    commands = read_commands(io.BytesIO(bytes(whole)).read)
    assert [next(commands)[0] for _ in SMALL] == [number for number, _ in SMALL]
    with pytest.raises(StreamCorrupt):
        next(commands)


@pytest.mark.parametrize("version", [0, 4, 0xFFFFFFFF])
def test_an_unsupported_version_is_refused(version: int) -> None:
    with pytest.raises(StreamCorrupt, match=f"stream version {version}"):
        read(b"btrfs-stream\0" + struct.pack("<I", version))


@pytest.mark.parametrize("stream", [b"", b"btrfs-streaM\0" + bytes(4), b"\x89PNG" + bytes(40)])
def test_something_else_is_not_a_stream(stream: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="offset 0"):
        read(stream)


@pytest.mark.parametrize("number", [0, 27, 28, 0xFFFF])
def test_an_unknown_command_is_refused_with_its_number(number: int) -> None:
    with pytest.raises(StreamCorrupt, match=f"unknown command {number}"):
        read(stream_bytes([(number, Pieces()), END]))


def test_a_command_longer_than_any_send_makes_is_refused_before_it_is_read() -> None:
    asked = []

    def take(count: int) -> bytes:
        asked.append(count)
        return source.read(count)

    source = io.BytesIO(stream_bytes([]) + struct.pack("<IHI", 0x7FFFFFFF, 15, 0))
    with pytest.raises(StreamCorrupt, match="a command of 2147483647 bytes"):
        list(read_commands(take))
    assert max(asked) < 100


@pytest.mark.parametrize(
    "payload",
    [
        struct.pack("<HH", 15, 5) + b"four",
        struct.pack("<HH", 15, 0xFFFF),
        struct.pack("<HH", 15, 0) + b"\x01",
        struct.pack("<HH", 15, 0) + b"\x01\x00\x01",
    ],
)
def test_an_attribute_that_reaches_beyond_its_command_is_corrupt(payload: bytes) -> None:
    stream = stream_bytes([]) + command_bytes(3, payload) + command_bytes(21, b"")
    with pytest.raises(StreamCorrupt, match=r"attribute is (longer|cut)"):
        read(stream)


def test_numbers_are_those_of_the_kernels_header() -> None:
    assert (Kind.SUBVOL, Kind.WRITE, Kind.END, Kind.ENCODED_WRITE) == (1, 15, 21, 25)
    assert (Field.UUID, Field.PATH, Field.DATA, Field.CLONE_LEN) == (1, 15, 19, 24)
    assert (Field.UNENCODED_FILE_LEN, Field.COMPRESSION, Field.VERITY_SIG_DATA) == (27, 30, 35)
