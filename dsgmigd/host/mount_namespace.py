"""Whether the host sees what this process mounts.

A service with PrivateTmp=, ProtectSystem= or the like has a mount namespace of its own, and so has
a shell behind `unshare -m` or `ip netns exec`. A mount there is seen on the host only if the mount
below which it is made is a peer of one of the host's (mount_namespaces(7)). The host is what
process 1 sees; a container whose first process shares our namespace is one.

The names of the namespaces in /proc/1/ns cannot be read without all capabilities of process 1. The
list of its mounts can: the number of a mount, and that of a group of peers, is unique on the host.

Raises: OSError.
"""

import os
import re
from dataclasses import dataclass

_OWN_MOUNTS = "/proc/self/mountinfo"
_HOST_MOUNTS = "/proc/1/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_PEERS, _MASTER = b"shared:", b"master:"


@dataclass(frozen=True, slots=True)
class _Mount:
    number: bytes
    place: bytes
    propagation: tuple[bytes, ...]

    def has(self, kind: bytes) -> bool:
        return any(field.startswith(kind) for field in self.propagation)


def is_hidden_from_host(path: str) -> bool:
    """Say whether the host does not see what is mounted below `path` from here.

    Without a list of the host's mounts (hidepid=) only what systemd does is recognised: it makes
    each mount receive the host's, and send none.
    """
    mount = _mount_of(os.fsencode(os.path.realpath(path)), _read(_OWN_MOUNTS))
    try:
        host = _read(_HOST_MOUNTS)
    except OSError:
        return mount.has(_MASTER)
    if mount.number in {one.number for one in host}:
        return False
    peers = {field for one in host for field in one.propagation if field.startswith(_PEERS)}
    return peers.isdisjoint(mount.propagation)


def _mount_of(path: bytes, mounts: list[_Mount]) -> _Mount:
    """Return the mount in which `path` is: of those with the longest place, the last."""
    below = path.rstrip(b"/") + b"/"
    above = [one for one in mounts if below.startswith(one.place.rstrip(b"/") + b"/")]
    return max(reversed(above), key=lambda one: len(one.place))


def _read(mountinfo: str) -> list[_Mount]:
    """Read a list of mounts: see proc(5)."""
    with open(mountinfo, "rb") as file:
        lines = [line.partition(b" - ")[0].split() for line in file]
    return [_Mount(words[0], _plain(words[4]), tuple(words[6:])) for words in lines]


def _plain(word: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), word)
