"""Content is copied, hashed, and becomes holes where it has zeros."""

import hashlib
import os
from pathlib import Path

import pytest

from dsgmigd.custody.copying import copy_content
from dsgmigd.errors import TargetUnwritable

RECORD = 128 * 1024


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"a", bytes(3), bytes(RECORD), b"a" + bytes(RECORD), bytes(RECORD) + b"a"),
        bytes(2 * RECORD - 1) + b"a" + bytes(9 * RECORD) + b"b" + bytes(1),
    ],
)
def test_a_copy_is_the_same_and_so_is_its_hash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "old").write_bytes(content)
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("wb") as new:
        digest = copy_content(old.fileno(), new.fileno(), "old", lambda: None)
    assert digest == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "new").read_bytes() == content


def test_a_read_that_fails_is_an_error_of_the_snapshot(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with (
            (tmp_path / "new").open("wb") as new,
            pytest.raises(TargetUnwritable, match="reading old"),
        ):
            copy_content(directory, new.fileno(), "old", lambda: None)
    finally:
        os.close(directory)
