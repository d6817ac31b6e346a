"""Lines on a stream that takes them, and on one that does not."""

import io

import pytest

from dsgmigd.line_sink import LineSink


def test_a_line_is_there_at_once() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    LineSink(stream).msg("a line")
    assert stream.buffer.getvalue() == b"a line\n"


def test_a_stream_that_takes_nothing_stops_nobody() -> None:
    stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 # closing it fails too
    LineSink(stream).msg("a line")
    with pytest.raises(OSError, match="No space left"):
        stream.close()
