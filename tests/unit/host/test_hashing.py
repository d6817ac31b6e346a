"""Content hashes: known answers, long files, and files that are no files."""

import hashlib
import os
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.host import hashing
from dsgmigd.host.hashing import hash_bytes, hash_descriptor, hash_file, sha256_of_file

HUGE = 2**30 + 2**26  # enough to be hashed once only
NOTHING = "2d06800538d394c2"  # the reference implementation's answer for no input


def test_the_hash_of_nothing_is_the_published_one() -> None:
    assert hash_bytes() == NOTHING
    assert hash_bytes(b"", b"") == NOTHING


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_pieces_hash_like_the_whole(pieces: list[bytes]) -> None:
    assert hash_bytes(*pieces) == xxhash.xxh3_64_hexdigest(b"".join(pieces))


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 2_500_000])
def test_a_file_is_hashed_to_its_end_whatever_its_size(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert in_directory(tmp_path, b"file") == (xxhash.xxh3_64_hexdigest(content[:size]), size)


@pytest.mark.parametrize(
    "data", [{}, {0: b"a"}, {2**26: b"b", 2**27 - 1: b"c"}, {5000: b"d" * 300_000}]
)
def test_holes_are_hashed_as_zeros_and_not_read(tmp_path: Path, data: dict[int, bytes]) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**27)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
        os.fsync(file.fileno())
    with path.open("rb") as file:
        whole, count = hash_descriptor(file.fileno(), reads_holes=True)
        digest, bytes_read = hash_descriptor(file.fileno())
    assert (digest, count) == (whole, 2**27)
    assert bytes_read < 2**20


def sparse(path: Path, data: dict[int, bytes], size: int = HUGE) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
        os.fsync(file.fileno())
    return path


def digest_of(path: Path, *, reads_holes: bool = False) -> str:
    with path.open("rb") as file:
        return hash_descriptor(file.fileno(), reads_holes=reads_holes)[0]


def test_a_huge_sparse_file_is_hashed_once_and_never_taken_for_another(tmp_path: Path) -> None:
    one = sparse(tmp_path / "one", {2**20: b"a"})
    whole = digest_of(one)
    zeros = sparse(tmp_path / "zeros", {2**20: b"a", 2**29: bytes(70_000)})
    assert digest_of(zeros) == whole
    others = [
        sparse(tmp_path / "place", {2**20 + 1: b"a"}),
        sparse(tmp_path / "page", {2**20 + 4096: b"a"}),
        sparse(tmp_path / "data", {2**20: b"b"}),
        sparse(tmp_path / "size", {2**20: b"a"}, size=HUGE + 1),
        sparse(tmp_path / "more", {2**20: b"a", 2**28: b"a"}),
        sparse(tmp_path / "nothing", {}),
    ]
    digests = [digest_of(other) for other in others]
    assert len({whole, *digests}) == len(others) + 1
    assert digest_of(others[0]) == digests[0] == digest_of(others[0], reads_holes=True)


def test_a_symbolic_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="symbolic link"):
        in_directory(tmp_path, b"link")


def test_a_pipe_is_an_error_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="seek"):
        in_directory(tmp_path, b"pipe")


def test_reading_leaves_the_access_time_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.utime(tmp_path / "file", ns=(1, 2))
    in_directory(tmp_path, b"file")
    assert (tmp_path / "file").stat().st_atime_ns == 1


@pytest.mark.parametrize(("size", "reads"), [(0, 0), (1, 1), (2**20, 1), (2**20 + 1, 2)])
def test_no_read_goes_beyond_the_known_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, reads: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    calls: list[tuple[int, int]] = []
    real = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        calls.append((length, offset))
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert in_directory(tmp_path, b"file")[1] == size
    assert len(calls) == reads
    assert all(length > 0 and offset + length <= size for length, offset in calls)


def test_a_file_that_shrank_ends_early_and_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    before = path.stat()
    whole = digest_of(path)
    os.truncate(path, 10)
    with path.open("rb") as file:
        digest, count = hash_descriptor(file.fileno(), status=before)
    assert (digest, count) == (hash_bytes(b"x" * 10), 10)
    assert digest != whole


class Ended(Exception):
    pass


@pytest.mark.parametrize("kind", ["data", "holes", "known"])
def test_the_checkpoint_can_end_the_hashing_of_any_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "data":
        path.write_bytes(b"x" * 2_000_000)
    else:
        sparse(path, {0: b"a"}, size=2**43 if kind == "known" else 2**27)

    def end() -> None:
        raise Ended

    with path.open("rb") as file, pytest.raises(Ended):
        hash_descriptor(file.fileno(), checkpoint=end)


def test_holes_that_would_take_hours_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "HOLES_LIMIT_BYTES", 2**26)
    digest_of(sparse(tmp_path / "file", {0: b"a"}, size=2**26))
    path = sparse(tmp_path / "larger", {}, size=2**27)
    with path.open("rb") as file, pytest.raises(OSError, match="bytes of holes"):
        hash_descriptor(file.fileno(), checkpoint=lambda: pytest.fail("it is being hashed"))


def in_directory(directory: Path, name: bytes) -> tuple[str, int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return hash_file(descriptor, name)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("reads_holes", [False, True])
def test_sha256_comes_from_the_same_read(tmp_path: Path, *, reads_holes: bool) -> None:
    content = b"a" * 5000 + bytes(3_000_000) + b"b"
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.write(content[:5000])
        file.seek(3_005_000)
        file.write(b"b")
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        digest, count = hash_descriptor(file.fileno(), reads_holes=reads_holes, also=sha256)
        assert (digest, count) == hash_descriptor(file.fileno(), reads_holes=reads_holes)
    assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()


def test_sha256_of_a_sparse_file_is_that_of_its_zeros(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(2 * 1024**3)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        found = sha256_of_file(directory, b"f", path.stat())
    finally:
        os.close(directory)
    zeros = hashlib.sha256()
    for _ in range(2048):
        zeros.update(bytes(1024**2))
    assert found == zeros.hexdigest()
