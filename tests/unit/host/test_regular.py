"""What is read where others may put anything: regular files only, and only so much of them."""

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from dsgmigd.host import regular
from dsgmigd.host.regular import (
    DOCUMENT_LIMIT_BYTES,
    Unfit,
    open_regular,
    read_json,
    read_pieces,
    read_regular,
)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("file")])
def test_only_a_regular_file_is_opened_as_one(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    (tmp_path / "file").write_text("{}")
    make(tmp_path / "other")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError, match="not a regular file"):
        open_regular(str(tmp_path / "other"))
    assert os.listdir("/proc/self/fd") == before
    assert read_json(str(tmp_path / "other")) is None


def test_a_file_that_does_not_exist_is_not_unfit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(str(tmp_path / "absent"))
    assert not isinstance(caught.value, Unfit)


def test_a_file_is_read_up_to_its_limit_and_not_at_all_beyond_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert read_regular(str(tmp_path / "file"), 4) == b"1234"
    with pytest.raises(Unfit, match="larger than 3 bytes"):
        read_regular(str(tmp_path / "file"), 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", None), ("[]", None), ("{", None), ("[" * 100_000, None), ('{"a": 1}', {"a": 1})],
)
def test_only_a_json_object_is_returned(
    tmp_path: Path, content: str, expected: dict[str, int] | None
) -> None:
    (tmp_path / "file").write_text(content)
    assert read_json(str(tmp_path / "file")) == expected
    assert read_json(str(tmp_path / "absent")) is None


def test_a_huge_sparse_file_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", DOCUMENT_LIMIT_BYTES + 1)
    assert read_json(str(tmp_path / "file")) is None


def test_the_checkpoint_is_called_for_every_piece_and_may_end_the_reading(tmp_path: Path) -> None:
    class Ended(Exception):
        pass

    def end() -> None:
        raise Ended

    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 2**43)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Ended):
        list(read_pieces(str(tmp_path / "file"), checkpoint=end))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("size", "pieces"), [(0, []), (5, [5]), (2**18 + 1, [2**18, 1])])
def test_no_file_is_read_beyond_its_known_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, pieces: list[int]
) -> None:
    asked: list[int] = []

    class Counted(FileIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size or 0)
            return super().read(size) or b""

    def opened(descriptor: int, mode: str, *, buffering: int) -> FileIO:
        assert buffering == 0
        return Counted(descriptor, mode)

    (tmp_path / "file").write_bytes(b"x" * size)
    monkeypatch.setattr(regular, "open", opened, raising=False)
    assert [len(piece) for piece in read_pieces(str(tmp_path / "file"))] == pieces
    assert asked == pieces
