"""DSG's content hash: xxh3 with 64 bits, 16 lower-case hex digits.

Copying and verifying share this code.
"""

import os

import xxhash

_CHUNK_BYTES = 1024 * 1024


def hash_bytes(*pieces: bytes) -> str:
    """Return the hash of the pieces joined."""
    state = start_hash()
    for piece in pieces:
        state.update(piece)
    return str(state.hexdigest())


def start_hash() -> xxhash.xxh3_64:
    """Return a hash that takes its content piece by piece: `update`, at last `hexdigest`."""
    return xxhash.xxh3_64()


def hash_descriptor(descriptor: int) -> tuple[str, int]:
    """Read a file to its end; return its hash and how many bytes were read."""
    state = start_hash()
    total = 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, total):
        state.update(chunk)
        total += len(chunk)
    return str(state.hexdigest()), total


def hash_file(directory: int, name: bytes) -> tuple[str, int]:
    """Read the regular file `name` in an open directory, like `hash_descriptor`.

    Raises OSError, also when a symbolic link stands there.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        return hash_descriptor(descriptor)
    finally:
        os.close(descriptor)
