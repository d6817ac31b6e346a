"""What is in place of the files of `.dsg/` that owners of a dataset may have exchanged."""

import os
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest

from dsgmigd.host.regular import Unfit
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.metadata import files
from dsgmigd.verification.metadata.archives import Archives
from dsgmigd.verification.metadata.chain import Chain
from dsgmigd.verification.metadata.documents import Documents
from dsgmigd.verification.metadata.files import metadata_directory, read_unpacked
from dsgmigd.verification.proof import Moments
from tests.unit.verification.metadata.dsg_documents import write_documents
from tests.unit.verification.snapshot_pair import calling_functions

LARGE = 2**43


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, LARGE)


def check(root: Path) -> list[Discrepancy]:
    """Check snapshot s2 in every way."""
    view = Documents().read(str(root), 2)
    archives, chain = Archives(reads_all=True), Chain()
    return [
        *view.discrepancies,
        *archives.check(str(root), 2, view, Moments(), is_newest_right=False, reads_none=False),
        *chain.check(str(root), 2, view, Moments()),
    ]


@pytest.mark.parametrize("put", [os.mkfifo, sparse, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize(
    "name",
    ["last-sync.json", "sync-messages.json", "tag-messages.json", "archive/s1-sync.json.lz4"],
)
def test_what_is_no_document_is_a_discrepancy_and_is_not_waited_for(
    tmp_path: Path, name: str, put: Callable[[Path], object]
) -> None:
    write_documents(tmp_path, 2)
    assert check(tmp_path) == []
    path = tmp_path / ".dsg" / name
    path.unlink(missing_ok=True)
    put(path)
    assert check(tmp_path) != []


@pytest.mark.parametrize("name", [".dsg", ".dsg/archive"])
def test_a_link_in_place_of_a_directory_is_not_followed(tmp_path: Path, name: str) -> None:
    """It would show the names in a directory that its owner may not list."""
    for root in (tmp_path / "root", tmp_path / "other"):
        root.mkdir()
        write_documents(root, 2)
    (tmp_path / "other" / ".dsg" / "archive" / "secret").touch()
    linked = tmp_path / "root" / name
    linked.rename(tmp_path / "gone")
    linked.symlink_to(tmp_path / "other" / name)
    found = check(tmp_path / "root")
    assert found != []
    assert "secret" not in str(found)
    with pytest.raises(Unfit, match="not a directory"):
        metadata_directory(str(tmp_path / "root"))


@pytest.mark.parametrize("content", [b"", b"a", os.urandom(3_000_000), b"a" * 20_000_000])
def test_an_archive_is_unpacked_in_pieces_of_limited_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "packed").write_bytes(lz4.frame.compress(content))
    pieces = list(read_unpacked(str(tmp_path / "packed")))
    assert b"".join(pieces) == content
    assert max(map(len, pieces), default=0) <= 256 * 1024


def test_an_archive_with_too_much_in_it_is_not_unpacked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MANIFEST_LIMIT_BYTES", 1_000_000)
    (tmp_path / "packed").write_bytes(lz4.frame.compress(b"a" * 1_000_001))
    with pytest.raises(Unfit, match="larger than 1000000 bytes"):
        list(read_unpacked(str(tmp_path / "packed")))


def frame_of(size: int) -> bytes:
    """Return an lz4 frame of exactly this size, with content that cannot be packed."""
    overhead = len(lz4.frame.compress(os.urandom(size))) - size
    return bytes(lz4.frame.compress(os.urandom(size - overhead)))


def test_a_second_frame_after_a_piece_that_ends_with_the_first_is_an_error(tmp_path: Path) -> None:
    first = frame_of(256 * 1024)
    assert len(first) == 256 * 1024
    (tmp_path / "packed").write_bytes(first + lz4.frame.compress(b"a"))
    with pytest.raises(ValueError, match="after the end of the lz4 frame"):
        list(read_unpacked(str(tmp_path / "packed")))


def test_the_checkpoint_is_called_for_the_pieces_of_every_manifest(tmp_path: Path) -> None:
    called: set[tuple[str, ...]] = set()

    def checkpoint() -> None:
        readers = ("read_pieces", "read_unpacked")
        called.add(tuple(name for name in calling_functions() if name in readers))

    def pieces_of(act: Callable[[], object]) -> set[tuple[str, ...]]:
        called.clear()
        act()
        return set(called)

    root = str(tmp_path)
    chain, archives = Chain(checkpoint), Archives(reads_all=True, checkpoint=checkpoint)
    write_documents(tmp_path, 1)
    chain.check(root, 1, Documents().read(root, 1), Moments())
    write_documents(tmp_path, 2)
    documents = Documents(checkpoint=checkpoint)
    view = Documents().read(root, 2)
    judged = {"is_newest_right": False, "reads_none": False}
    # On disk, on disk in order to be unpacked, and unpacked.
    plain, packed, unpacked = ("read_pieces",), ("read_pieces", "read_unpacked"), ("read_unpacked",)
    assert pieces_of(lambda: documents.read(root, 2)) == {plain, packed, unpacked}
    assert pieces_of(lambda: archives.check(root, 2, view, Moments(), **judged)) == {
        *(plain, packed, unpacked)
    }
    assert pieces_of(lambda: chain.check(root, 2, view, Moments())) == {packed, unpacked}


@pytest.mark.parametrize(
    "packed",
    [
        b"x",
        lz4.frame.compress(b"a") * 2,
        lz4.frame.compress(b"a")[:-1],
        lz4.frame.compress(b"a") + b"x",
        lz4.frame.compress(b"a") + bytes(300_000),
    ],
)
def test_what_is_not_one_whole_frame_is_an_error(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "packed").write_bytes(packed)
    with pytest.raises((ValueError, RuntimeError)):
        list(read_unpacked(str(tmp_path / "packed")))
