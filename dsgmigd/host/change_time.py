"""What the time of a file's last change (ctime) proves: pure rules.

The kernel sets it with every change, but only with the resolution of its coarse clock, and some
file systems cut it to whole seconds.

Raises: nothing.
"""

NANOSECONDS = 1_000_000_000
# The kernel's coarse clock ticks every 1 to 10 ms.
TICK_NS = 20_000_000


def came_before(ctime_ns: int, moment_ns: int) -> bool:
    """Say whether a change came before a moment for certain; both since the epoch."""
    latest_ns = ctime_ns if ctime_ns % NANOSECONDS else ctime_ns + NANOSECONDS - 1
    return latest_ns < moment_ns - TICK_NS
