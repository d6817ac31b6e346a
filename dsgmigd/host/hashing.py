"""DSG's content hash: xxh3 with 64 bits, 16 lower-case hex digits.

Copying and verifying share this code.
"""

import errno
import os
import stat
import threading
from collections.abc import Iterator

import xxhash

_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_ZEROS = memoryview(bytes(256 * 1024))
_PAGE_BYTES = 4096
# What ZFS reads at once: nothing of it may be in memory when the next part is asked for.
_RECORD_BYTES = 128 * 1024
_LITTLE_DATA_BYTES = 64 * 1024 * 1024
_HUGE_BYTES = 1024**3
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
    """Return a hash that takes its content piece by piece: `update`, at last `hexdigest`."""
    return xxhash.xxh3_64()


def hash_descriptor(
    descriptor: int, *, status: os.stat_result | None = None, reads_holes: bool = False
) -> tuple[str, int]:
    """Read a regular file to its end; return its hash and how many bytes were read.

    `status` is the file's, if it is known: where the file system is another process, asking for it
    again takes as long as reading a small file.

    What the file system calls a hole is hashed as the zeros that it stands for, without reading
    them, unless `reads_holes`. Not for a file that somebody may be writing: some file systems are
    not sure of the holes of such a file.
    """
    status = status or os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
    occupied = status.st_blocks * _BLOCK_BYTES
    if reads_holes or occupied > _LITTLE_DATA_BYTES or status.st_size - occupied < _HUGE_BYTES:
        return _hash_ranges(descriptor, status, reads_holes=reads_holes)
    # Hashing zeros takes a minute a tebibyte. Whoever has the same data in the same places has the
    # same hash, and is asked for it several times: for the manifest, and for each side.
    key, bytes_read = _data_key(descriptor, status)
    with _known_lock:
        digest = _known.get(key)
    if digest is None:
        digest, count = _hash_ranges(descriptor, status, reads_holes=False)
        bytes_read += count
        with _known_lock:
            if len(_known) == _KNOWN_FILES:
                del _known[next(iter(_known))]
            _known[key] = digest
    return digest, bytes_read


def _data_key(descriptor: int, status: os.stat_result) -> tuple[bytes, int]:
    """Return what tells the content of a sparse file from any other, and how much was read."""
    state = xxhash.xxh3_128(status.st_size.to_bytes(8, "little"))
    position = bytes_read = 0
    for start, data_end in _data_ranges(descriptor, status, reads_holes=False):
        position = max(position, start - start % _PAGE_BYTES)
        end = data_end + -data_end % _PAGE_BYTES
        while position < end and (
            chunk := os.pread(descriptor, min(_RECORD_BYTES, end - position), position)
        ):
            for page_start in range(0, len(chunk), _PAGE_BYTES):
                page = chunk[page_start : page_start + _PAGE_BYTES]
                if page.count(0) != len(page):  # zeros may be a hole elsewhere
                    state.update((position + page_start).to_bytes(8, "little") + page)
            position += len(chunk)
            bytes_read += len(chunk)
    return bytes(state.digest()), bytes_read


def _hash_ranges(descriptor: int, status: os.stat_result, *, reads_holes: bool) -> tuple[str, int]:
    state = start_hash()
    position = bytes_read = 0
    for start, end in _data_ranges(descriptor, status, reads_holes=reads_holes):
        _add_zeros(state, start - position)
        position = start
        while chunk := os.pread(descriptor, min(_CHUNK_BYTES, end - position), position):
            state.update(chunk)
            position += len(chunk)
            bytes_read += len(chunk)
    return str(state.hexdigest()), bytes_read


def _data_ranges(
    descriptor: int, status: os.stat_result, *, reads_holes: bool
) -> Iterator[tuple[int, int]]:
    """Yield start and end of all data; the last range ends at the end of the file."""
    if reads_holes or status.st_blocks * _BLOCK_BYTES >= status.st_size:
        # No further: where the end is known, looking beyond it costs another question.
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


def _add_zeros(state: xxhash.xxh3_64, count: int) -> None:
    while count > 0:
        state.update(_ZEROS[: min(count, len(_ZEROS))])
        count -= len(_ZEROS)


def hash_file(
    directory: int,
    name: bytes,
    *,
    status: os.stat_result | None = None,
    reads_holes: bool = False,
) -> tuple[str, int]:
    """Read the regular file `name` in an open directory, like `hash_descriptor`.

    Raises OSError, also when a symbolic link stands there.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        return hash_descriptor(descriptor, status=status, reads_holes=reads_holes)
    finally:
        os.close(descriptor)
