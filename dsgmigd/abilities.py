"""What a target file system can hold, found out by trying.

Leaving errors: LossNotAllowed, TargetFull, TargetUnwritable.
"""

import errno
import os
import tempfile
from dataclasses import dataclass

from dsgmigd.errors import LossNotAllowed
from dsgmigd.file_errors import target_error
from dsgmigd.request import Loss

_PROBE_TIME_NS = 1_000_000_000_123_456_789
_XATTR = b"user.dsgmigd"


@dataclass(frozen=True)
class Abilities:
    """What the target can hold."""

    xattrs: bool = True
    subsecond_mtime: bool = True

    def lacking(self) -> tuple[Loss, ...]:
        """Return what would be lost, by name."""
        losses: list[Loss] = []
        if not self.xattrs:
            losses.append("xattr")
        if not self.subsecond_mtime:
            losses.append("subsecond_mtime")
        return tuple(losses)


def probe_abilities(directory: str) -> Abilities:
    """Find out what the file system at `directory` can hold, with a file that is removed again."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".probe-") as probe:
            os.utime(probe.fileno(), ns=(_PROBE_TIME_NS, _PROBE_TIME_NS))
            subsecond_mtime = os.fstat(probe.fileno()).st_mtime_ns == _PROBE_TIME_NS
            xattrs = _holds_xattrs(probe.fileno())
    except OSError as error:
        raise target_error(error, f"probing {directory}") from error
    return Abilities(xattrs=xattrs, subsecond_mtime=subsecond_mtime)


def _holds_xattrs(descriptor: int) -> bool:
    try:
        os.setxattr(descriptor, _XATTR, b"1")
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EPERM}:
            return False
        raise
    return True


def check_losses(abilities: Abilities, allowed: tuple[Loss, ...]) -> None:
    """Raise LossNotAllowed for a loss that every source would suffer and nobody allowed.

    Times below the second are in every source; whether extended attributes are there shows only
    while it is read.
    """
    if "subsecond_mtime" in abilities.lacking() and "subsecond_mtime" not in allowed:
        raise LossNotAllowed(
            "the target keeps whole seconds of modification times only",
            hint='choose another target, or submit with "allow_loss": ["subsecond_mtime"]',
        )
