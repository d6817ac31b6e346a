"""DSG's content hash: XXH3 with 64 bits, as 16 lower-case hex digits; and SHA-256 for evidence.

The writer of manifests and the verifier share this code.

Raises: OSError.
"""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import xxhash

_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_ZEROS = memoryview(bytes(1024 * 1024))
_PAGE_BYTES = 4096
# The size of a ZFS record. A smaller read would make ZFS read the same record again.
_RECORD_BYTES = 128 * 1024
_LITTLE_DATA_BYTES = 64 * 1024 * 1024
_HUGE_BYTES = 1024**3
# Hashing zeros takes a minute per tebibyte, and no arithmetic can shorten it: XXH3 mixes after
# every kibibyte. The holes that `truncate -s 7E` makes would take fourteen years.
HOLES_LIMIT_BYTES = 64 * 1024**4
_KNOWN_FILES = 256
_known: dict[bytes, str] = {}
_known_lock = threading.Lock()


def hash_bytes(*pieces: bytes) -> str:
    """Return the hash of the pieces joined."""
    state = start_hash()
    for piece in pieces:
        state.update(piece)
    return str(state.hexdigest())


def start_hash() -> xxhash.xxh3_64:
    """Return a hash object: call `update` for each piece of content, then `hexdigest`."""
    return xxhash.xxh3_64()


class Digest(Protocol):
    """A hash object, as hashlib and xxhash have them."""

    def update(self, content: bytes | memoryview, /) -> None:
        """Add more content."""


def hash_descriptor(
    descriptor: int,
    *,
    status: os.stat_result | None = None,
    reads_holes: bool = False,
    also: Digest | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> tuple[str, int]:
    """Read a regular file up to its size; return its hash and the number of bytes read.

    `status` is the file's status, if known: if the file system is another process, asking for it
    again takes as long as reading a small file. `also` gets the same content in the same read.

    Holes are hashed as zeros without being read, unless `reads_holes`. Do not use this for a file
    that is being written: some file systems report the holes of such a file wrongly.

    `checkpoint` is called for every piece; whatever it raises ends the reading. Raises OSError
    (EFBIG) if the holes are larger than HOLES_LIMIT_BYTES.
    """
    status = status or os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
    occupied = status.st_blocks * _BLOCK_BYTES
    is_small = occupied > _LITTLE_DATA_BYTES or status.st_size - occupied < _HUGE_BYTES
    if reads_holes or is_small or also is not None:
        state = start_hash()
        states = (state,) if also is None else (state, also)
        count = _hash_ranges(descriptor, status, checkpoint, states, reads_holes=reads_holes)
        return str(state.hexdigest()), count
    return _hash_sparse(descriptor, status, checkpoint)


def _hash_sparse(
    descriptor: int, status: os.stat_result, checkpoint: Callable[[], None]
) -> tuple[str, int]:
    """Hash a file that is mostly holes; see `hash_descriptor`.

    Hashing zeros takes long, and each file is hashed several times: for the manifest, and on each
    side. Files with the same data at the same offsets have the same hash.
    """
    key, bytes_read = _data_key(descriptor, status, checkpoint)
    with _known_lock:
        digest = _known.get(key)
    if digest is None:
        state = start_hash()
        bytes_read += _hash_ranges(descriptor, status, checkpoint, (state,), reads_holes=False)
        digest = str(state.hexdigest())
        with _known_lock:
            if len(_known) == _KNOWN_FILES:
                del _known[next(iter(_known))]
            _known[key] = digest
    return digest, bytes_read


def _data_key(
    descriptor: int, status: os.stat_result, checkpoint: Callable[[], None]
) -> tuple[bytes, int]:
    """Return a key that identifies the content of a sparse file, and the number of bytes read."""
    state = xxhash.xxh3_128(status.st_size.to_bytes(8, "little"))
    position = bytes_read = 0
    for start, data_end in _data_ranges(descriptor, status, reads_holes=False):
        position = max(position, start - start % _PAGE_BYTES)
        end = data_end + -data_end % _PAGE_BYTES
        while position < end and (
            chunk := os.pread(descriptor, min(_RECORD_BYTES, end - position), position)
        ):
            checkpoint()
            for page_start in range(0, len(chunk), _PAGE_BYTES):
                page = chunk[page_start : page_start + _PAGE_BYTES]
                if page.count(0) != len(page):  # zeros may be a hole in another file
                    state.update((position + page_start).to_bytes(8, "little") + page)
            position += len(chunk)
            bytes_read += len(chunk)
    return bytes(state.digest()), bytes_read


def _hash_ranges(
    descriptor: int,
    status: os.stat_result,
    checkpoint: Callable[[], None],
    states: Sequence[Digest],
    *,
    reads_holes: bool,
) -> int:
    """Add the content of a file to each of `states`; return how many bytes were read."""
    position = bytes_read = hole_bytes = 0
    for start, end in _data_ranges(descriptor, status, reads_holes=reads_holes):
        hole_bytes += start - position
        if hole_bytes > HOLES_LIMIT_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {HOLES_LIMIT_BYTES} bytes of holes")
        _add_zeros(states, start - position, checkpoint)
        position = start
        while position < end and (
            chunk := os.pread(descriptor, min(_CHUNK_BYTES, end - position), position)
        ):
            checkpoint()
            for state in states:
                state.update(chunk)
            position += len(chunk)
            bytes_read += len(chunk)
    return bytes_read


def _data_ranges(
    descriptor: int, status: os.stat_result, *, reads_holes: bool
) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each data range; the last one ends at the end of the file."""
    if reads_holes or status.st_blocks * _BLOCK_BYTES >= status.st_size:
        # Do not ask for holes: there are none, or they have to be read.
        yield 0, status.st_size
        return
    position = 0
    while position < status.st_size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position
    yield status.st_size, status.st_size


def _add_zeros(states: Sequence[Digest], count: int, checkpoint: Callable[[], None]) -> None:
    while count > 0:
        checkpoint()
        for state in states:
            state.update(_ZEROS[: min(count, len(_ZEROS))])
        count -= len(_ZEROS)


def hash_file(
    directory: int,
    name: bytes,
    *,
    status: os.stat_result | None = None,
    reads_holes: bool = False,
    also: Digest | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> tuple[str, int]:
    """Read the regular file `name` in an open directory, like `hash_descriptor`.

    Raises OSError, also if `name` is a symbolic link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        return hash_descriptor(
            descriptor, status=status, reads_holes=reads_holes, also=also, checkpoint=checkpoint
        )
    finally:
        os.close(descriptor)


def sha256_of_file(
    directory: int,
    name: bytes,
    status: os.stat_result,
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> str:
    """Return the SHA-256 of the regular file `name` in an open directory; see `hash_file`."""
    state = hashlib.sha256()
    hash_file(directory, name, status=status, also=state, checkpoint=checkpoint)
    return state.hexdigest()
