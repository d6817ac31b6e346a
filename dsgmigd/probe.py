"""Find out, by trying, what a target file system can hold.

Leaving errors: TargetFull, TargetUnwritable.
"""

import errno
import os
import tempfile

from dsgmigd.abilities import Abilities
from dsgmigd.file_errors import target_error

PROBE_PREFIX = ".probe-"

_PROBE_TIME_NS = 1_000_000_000_123_456_789
_XATTR = b"user.dsgmigd"


def probe_abilities(directory: str) -> Abilities:
    """Find out what the file system at `directory` can hold, with a file that is removed again."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=PROBE_PREFIX) as probe:
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
