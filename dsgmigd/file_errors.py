"""Turn the kernel's errors on files into errors for the operator."""

import contextlib
import errno
from collections.abc import Iterator

from dsgmigd.errors import (
    DsgmigdError,
    SourceUnreadable,
    TargetFull,
    TargetRefused,
    TargetUnwritable,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_HOLD = frozenset(
    {errno.EOVERFLOW, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EOPNOTSUPP, errno.EFBIG}
)


def target_error(error: OSError, action: str) -> DsgmigdError:
    """Return the error to raise for an OSError of the target during `action`."""
    words = f"{action} failed on the target: {error.strerror}"
    if error.errno in _FULL:
        return TargetFull(words, hint="free space in the pool or raise the quota")
    if error.errno in _CANNOT_HOLD:
        return TargetRefused(words, hint="the target file system cannot hold what the source has")
    return TargetUnwritable(words, hint="check the pool: zpool status -v")


@contextlib.contextmanager
def target_errors(action: str) -> Iterator[None]:
    """Raise the error of `target_error` for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise target_error(error, action) from error


def source_error(error: OSError, action: str) -> SourceUnreadable:
    """Return the error to raise for an OSError of the source during `action`."""
    return SourceUnreadable(
        f"{action} failed in the source: {error.strerror}",
        hint="check the source file system: dmesg, btrfs device stats, btrfs scrub",
    )
