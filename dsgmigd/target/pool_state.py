"""The state of a pool as the kernel's ZFS tells it, without a program.

Raises: nothing.
"""

_STATES = "/proc/spl/kstat/zfs"


def read_pool_state(pool: str) -> str | None:
    """Return the health of a pool, as `zpool list` does: "ONLINE", "SUSPENDED" and the like.

    The answer comes at once, even if the pool is suspended. None if the kernel does not tell, for
    instance because the pool is not imported, or is one of zfs-fuse.
    """
    try:
        with open(f"{_STATES}/{pool}/state", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
