"""DSG's content hash: xxh3 with 64 bits, 16 lower-case hex digits.

Copying and verifying share this code.
"""

import errno
import os
from collections.abc import Iterator

import xxhash

_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_ENDLESS = 2**63 - 1
_ZEROS = memoryview(bytes(256 * 1024))


def hash_bytes(*pieces: bytes) -> str:
    """Return the hash of the pieces joined."""
    state = start_hash()
    for piece in pieces:
        state.update(piece)
    return str(state.hexdigest())


def start_hash() -> xxhash.xxh3_64:
    """Return a hash that takes its content piece by piece: `update`, at last `hexdigest`."""
    return xxhash.xxh3_64()


def hash_descriptor(descriptor: int, *, reads_holes: bool = False) -> tuple[str, int]:
    """Read a file to its end; return its hash and how many bytes were read.

    What the file system calls a hole is hashed as the zeros that it stands for, without reading
    them, unless `reads_holes`. Not for a file that somebody may be writing: some file systems are
    not sure of the holes of such a file.
    """
    state = start_hash()
    position = bytes_read = 0
    for start, end in _data_ranges(descriptor, reads_holes=reads_holes):
        _add_zeros(state, start - position)
        position = start
        while chunk := os.pread(descriptor, min(_CHUNK_BYTES, end - position), position):
            state.update(chunk)
            position += len(chunk)
            bytes_read += len(chunk)
    return str(state.hexdigest()), bytes_read


def _data_ranges(descriptor: int, *, reads_holes: bool) -> Iterator[tuple[int, int]]:
    """Yield start and end of all data; the last range begins at or runs to the end of the file."""
    status = os.fstat(descriptor)
    if reads_holes or status.st_blocks * _BLOCK_BYTES >= status.st_size:
        yield 0, _ENDLESS
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


def hash_file(directory: int, name: bytes, *, reads_holes: bool = False) -> tuple[str, int]:
    """Read the regular file `name` in an open directory, like `hash_descriptor`.

    Raises OSError, also when a symbolic link stands there.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        return hash_descriptor(descriptor, reads_holes=reads_holes)
    finally:
        os.close(descriptor)
