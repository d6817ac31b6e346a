"""Names that the kernel gives to directories that are in the way."""

from pathlib import Path

import pytest

from dsgmigd.host.directories import Directories
from dsgmigd.transfer.orphans import Orphans


@pytest.mark.parametrize(
    ("path", "is_orphan"),
    [
        (b"o257-7-0", True),
        (b"o257-7", False),
        (b"o257-7-0x", False),
        (b"d/o257-7-0", False),
        (b"o257-7-0/d", False),
        (b"o257-7-0\n", False),
    ],
)
def test_only_a_name_of_the_kernel_at_the_root_is_left(
    tmp_path: Path, path: bytes, *, is_orphan: bool
) -> None:
    orphans = Orphans()
    orphans.note(path)
    with Directories(str(tmp_path)) as source:
        assert orphans.left_in(source) == ([path] if is_orphan else [])


def test_a_name_that_the_snapshot_has_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "o257-7-0").mkdir()
    orphans = Orphans()
    for path in (b"o300-7-0", b"o257-7-0", b"o258-7-1"):
        orphans.note(path)
    with Directories(str(tmp_path)) as source:
        assert orphans.left_in(source) == [b"o258-7-1", b"o300-7-0"]
