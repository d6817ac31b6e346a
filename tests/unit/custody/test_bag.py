"""Bags: bagit, sha256sum and ssh-keygen take them, and what differs leaves none."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import bagit
import pytest

from dsgmigd.custody.bag import Evidence, Maker, write_bag
from dsgmigd.custody.table import Table
from dsgmigd.errors import BagRefused, DsgmigdError, EvidenceDiffers
from tests.unit.custody.trees_with_evidence import NAMES, make_tree, statement_of, table_of

MAKER = Maker("2026-11-30", "0.1.0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "tree"
    directory.mkdir()
    make_tree(directory)
    return directory


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "bags"
    directory.mkdir()
    return directory


def evidence_of(table: Table, signature: bytes | None = None) -> Evidence:
    return Evidence(statement_of(table), table, signature)


def write(root: Path, place: Path, table: Table | None = None) -> Path:
    return Path(write_bag(str(root), evidence_of(table or table_of(root)), str(place), MAKER))


def sha256sum(bag: Path, file: str) -> subprocess.CompletedProcess[str]:
    words = ["sha256sum", "--check", "--strict", "--quiet", file]
    return subprocess.run(words, check=False, cwd=bag, capture_output=True, text=True, timeout=60)


def test_bagit_and_sha256sum_find_a_bag_valid(root: Path, place: Path) -> None:
    bag = write(root, place)
    assert bag == place / "SV-s3"
    opened = bagit.Bag(str(bag))
    opened.validate()
    assert opened.version_info == (1, 0)
    assert opened.info["External-Identifier"] == "zsd/SV@s3"
    assert opened.info["Bagging-Date"] == "2026-11-30"
    files = len(NAMES) + 5
    assert len(list(opened.payload_files())) == files
    assert opened.info["Payload-Oxum"].endswith(f".{files}")
    done = sha256sum(bag, "sha256sums.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sha256sum(bag, "tagmanifest-sha256.txt").returncode == 0
    assert len((bag / "sha256sums.txt").read_bytes().splitlines()) == files


def test_a_bit_that_is_flipped_afterwards_is_found_by_both(root: Path, place: Path) -> None:
    bag = write(root, place)
    (bag / "data/=FF=FE").write_bytes(b"content 13\n")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(bag)).validate()
    assert sha256sum(bag, "sha256sums.txt").returncode == 1


def test_every_file_is_in_the_bag_with_its_content_and_time(root: Path, place: Path) -> None:
    bag = write(root, place)
    names = {
        os.fsencode(told["path"]): told["name"]
        for told in map(json.loads, (bag / "names.jsonl").read_text().splitlines())
    }
    for number, name in enumerate(NAMES):
        copied = os.path.join(os.fsencode(bag), os.fsencode(names.get(name, "")))
        if name not in names:
            copied = os.path.join(os.fsencode(bag), b"data", name)
        with open(copied, "rb") as file:
            assert file.read() == b"content %d\n" % number
        if name != b"plain":
            assert os.stat(copied).st_mtime_ns == 1_600_000_000_123_456_789 + number
    assert not os.path.lexists(bag / "data/link")
    assert not os.path.lexists(bag / "data/fifo")
    assert (bag / "data/no files").is_dir()
    assert (bag / "data/dir=25/.inner/hard link").samefile(bag / "data/plain")


def test_the_entries_have_the_root_hash_and_the_statement_is_the_signed_one(
    root: Path, place: Path
) -> None:
    table = table_of(root)
    evidence = evidence_of(table, b"signature\n")
    bag = Path(write_bag(str(root), evidence, str(place), MAKER))
    entries = (bag / "entries.jsonl").read_bytes()
    assert hashlib.sha256(entries).hexdigest() == table.root()
    assert (bag / "statement.json").read_bytes() == evidence.statement.to_bytes()
    assert (bag / "statement.json.sig").read_bytes() == b"signature\n"
    assert b"statement.json.sig" in (bag / "tagmanifest-sha256.txt").read_bytes()


def test_holes_stay_holes(root: Path, place: Path) -> None:
    if (root / "holes").stat().st_blocks * 512 > 1024 * 1024:
        pytest.skip("this file system has no holes")
    bag = write(root, place)
    status = (bag / "data/holes").stat()
    assert status.st_size == 16 * 1024 * 1024
    assert status.st_blocks * 512 <= 1024 * 1024


def test_everything_in_a_bag_can_be_read_by_everybody(root: Path, place: Path) -> None:
    before = os.umask(0o077)
    try:
        bag = write(root, place)
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (bag, *bag.rglob("*"))}
    assert modes == {(True, 0o755), (False, 0o644)}


def test_a_snapshot_without_files_is_a_bag(tmp_path: Path, place: Path) -> None:
    (tmp_path / "nothing").mkdir()
    bag = write(tmp_path / "nothing", place)
    assert bagit.Bag(str(bag)).is_valid()


def content(root: Path) -> None:
    status = (root / ".hidden").stat()
    (root / ".hidden").write_bytes(b"CONTENT 2\n")
    os.utime(root / ".hidden", ns=(1, status.st_mtime_ns))


def replace_link(root: Path) -> None:
    (root / "link").unlink()
    os.symlink("other", root / "link")


def replace_file(root: Path) -> None:
    (root / "empty").unlink()
    (root / "empty").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    ".hidden: sha256 is": content,
    "secret: mode is 0644, the evidence says 0600": lambda root: (root / "secret").chmod(0o644),
    ".hidden: path is missing": lambda root: (root / ".hidden").unlink(),
    ".new: path is extra": lambda root: (root / ".new").touch(),
    "empty: mtime_ns is 5,": lambda root: os.utime(root / "empty", ns=(1, 5)),
    "file: xattr user.note is 1 bytes": lambda root: os.setxattr(
        root / "dir%/.inner/file", "user.note", b"x"
    ),
    "link: ": replace_link,
    "empty: kind is directory": replace_file,
}


@pytest.mark.parametrize("words", CHANGES)
def test_what_differs_from_the_evidence_is_named_and_no_bag_is_left(
    root: Path, place: Path, words: str
) -> None:
    table, times = table_of(root), root.stat()
    CHANGES[words](root)
    os.utime(root, ns=(1, times.st_mtime_ns))
    with pytest.raises(EvidenceDiffers) as caught:
        write(root, place, table)
    assert words in caught.value.message
    assert list(place.iterdir()) == []


def test_a_bag_that_exists_is_not_touched(root: Path, place: Path) -> None:
    (place / "SV-s3").mkdir()
    with pytest.raises(BagRefused, match="exists"):
        write(root, place)
    assert list((place / "SV-s3").iterdir()) == []


def test_a_place_that_does_not_exist_is_refused(root: Path, place: Path) -> None:
    with pytest.raises(BagRefused, match="No such file"):
        write(root, place / "nowhere")


def test_when_the_work_is_stopped_nothing_is_left(root: Path, place: Path) -> None:
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 20:
            raise BagRefused("stopped", hint="-")

    with pytest.raises(DsgmigdError, match="stopped"):
        write_bag(str(root), evidence_of(table_of(root)), str(place), MAKER, checkpoint=stop)
    assert list(place.iterdir()) == []


def test_a_deep_tree_is_a_bag(root: Path, place: Path) -> None:
    inner = root
    for _ in range(100):
        inner /= "d" * 30
    subprocess.run(["mkdir", "-p", inner], check=True, timeout=60)
    (inner / "f").write_text("deep")
    bag = write(root, place)
    assert bagit.Bag(str(bag)).is_valid()
    shutil.rmtree(root)
