"""The directory `.dsg/`: what is in it after each snapshot, for everybody to read."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest

from dsgmigd.dsg.archive import DsgDirectory, archive_name
from dsgmigd.dsg.metadata import Metadata, render_messages
from dsgmigd.errors import TargetChanged, TargetUnwritable


def metadata_of(count: int) -> list[Metadata]:
    return [{"snapshot_id": f"s{number}"} for number in range(1, count + 1)]


def write_series(root: Path, count: int) -> DsgDirectory:
    directory = DsgDirectory(str(root))
    for number in range(1, count + 1):
        write(directory, f"manifest {number}".encode(), number)
    return directory


def write(directory: DsgDirectory, manifest: bytes, number: int) -> None:
    """Write the documents of snapshot s`number`, the manifest in two pieces."""
    previous = f"s{number - 1}" if number > 1 else None
    directory.write_manifest([manifest[:3], manifest[3:]], previous=previous)
    directory.write_messages(metadata_of(number))


def test_the_first_snapshot_has_an_empty_archive(tmp_path: Path) -> None:
    write_series(tmp_path, 1)
    assert (tmp_path / ".dsg" / "last-sync.json").read_bytes() == b"manifest 1"
    assert (tmp_path / ".dsg" / "sync-messages.json").read_bytes() == render_messages(
        metadata_of(1)
    )
    assert os.listdir(tmp_path / ".dsg" / "archive") == []


def test_the_archive_holds_every_manifest_but_the_last_as_one_lz4_frame(tmp_path: Path) -> None:
    directory = write_series(tmp_path, 3)
    archive = tmp_path / ".dsg" / "archive"
    assert sorted(os.listdir(archive)) == ["s1-sync.json.lz4", "s2-sync.json.lz4"]
    for number in (1, 2):
        frame = (tmp_path / ".dsg" / archive_name(f"s{number}")).read_bytes()
        assert lz4.frame.decompress(frame) == f"manifest {number}".encode()
    assert list(directory.read_manifest()) == [b"manifest 3"]
    assert directory.read_messages() == metadata_of(3)


def test_an_archived_manifest_is_left_alone_by_later_snapshots(tmp_path: Path) -> None:
    write_series(tmp_path, 2)
    first = tmp_path / ".dsg" / archive_name("s1")
    before = (first.stat().st_ino, first.stat().st_ctime_ns)
    directory = DsgDirectory(str(tmp_path))
    write(directory, b"manifest 3", 3)
    assert (first.stat().st_ino, first.stat().st_ctime_ns) == before


def test_everything_is_readable_by_all_whatever_the_umask_is(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_series(tmp_path, 2)
    finally:
        os.umask(old)
    found = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / ".dsg", *(tmp_path / ".dsg").rglob("*"))
    }
    assert found == {
        ".dsg": 0o755,
        "archive": 0o755,
        "last-sync.json": 0o644,
        "sync-messages.json": 0o644,
        "s1-sync.json.lz4": 0o644,
    }


def test_a_shorter_manifest_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    directory = DsgDirectory(str(tmp_path))
    write(directory, b"long long long", 1)
    write(directory, b"short", 2)
    assert list(directory.read_manifest()) == [b"short"]


def test_a_manifest_of_many_pieces_is_archived_byte_for_byte_and_says_how_long_it_is(
    tmp_path: Path,
) -> None:
    manifest = b"".join(b"line %d\n" % number for number in range(300_000))
    directory = DsgDirectory(str(tmp_path))
    write(directory, manifest, 1)
    write(directory, b"next", 2)
    frame = (tmp_path / ".dsg" / archive_name("s1")).read_bytes()
    assert lz4.frame.decompress(frame) == manifest
    assert lz4.frame.get_frame_info(frame)["content_size"] == len(manifest)


def test_a_link_in_place_of_a_document_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    (tmp_path / ".dsg").mkdir()
    (tmp_path / ".dsg" / "last-sync.json").symlink_to(victim)
    with pytest.raises(TargetUnwritable):
        write_series(tmp_path, 1)
    assert victim.read_bytes() == b"kept"


def test_a_link_in_place_of_the_previous_manifest_is_not_archived(tmp_path: Path) -> None:
    directory = write_series(tmp_path, 1)
    manifest = tmp_path / ".dsg" / "last-sync.json"
    manifest.unlink()
    manifest.symlink_to("/etc/hostname")
    with pytest.raises(TargetChanged, match="it is not a regular file"):
        write(directory, b"manifest 2", 2)


@pytest.mark.parametrize("name", ["last-sync.json", "sync-messages.json", "tag-messages.json"])
def test_a_pipe_in_place_of_a_document_is_not_waited_for(tmp_path: Path, name: str) -> None:
    directory = write_series(tmp_path, 1)
    (tmp_path / ".dsg" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / ".dsg" / name)
    read: list[Callable[[], object]] = [
        lambda: list(directory.read_manifest()),
        directory.read_messages,
        directory.read_tags,
    ]
    failed = 0
    for one in read:
        try:
            one()
        except TargetChanged as error:
            failed += "it is not a regular file" in error.message
    assert failed == 1
    with pytest.raises(OSError, match="No such device"):
        directory._write(name, [b"x"])


@pytest.mark.parametrize("name", ["sync-messages.json", "tag-messages.json"])
def test_a_huge_sparse_document_is_not_read(tmp_path: Path, name: str) -> None:
    directory = write_series(tmp_path, 1)
    (tmp_path / ".dsg" / name).touch()
    os.truncate(tmp_path / ".dsg" / name, 2**36)
    with pytest.raises(TargetChanged, match="it is larger than"):
        (directory.read_messages if name.startswith("sync") else directory.read_tags)()


def test_a_missing_document_is_a_failure_of_the_target(tmp_path: Path) -> None:
    with pytest.raises(TargetUnwritable, match=r"reading .*last-sync\.json"):
        list(DsgDirectory(str(tmp_path)).read_manifest())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"7", b'{"snapshots": []}', b"\xff"])
def test_messages_that_dsgmigd_did_not_write_are_a_changed_target(
    tmp_path: Path, content: bytes
) -> None:
    directory = write_series(tmp_path, 1)
    (tmp_path / ".dsg" / "sync-messages.json").write_bytes(content)
    with pytest.raises(TargetChanged, match="is not the document that dsgmigd wrote"):
        directory.read_messages()
