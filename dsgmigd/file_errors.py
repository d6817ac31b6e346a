"""Turn the kernel's errors on files into errors for the operator."""

import contextlib
import errno
from collections.abc import Iterator

from dsgmigd.errors import (
    DsgmigdError,
    HostExhausted,
    SourceUnreadable,
    SpoolFailing,
    TargetFull,
    TargetRefused,
    TargetUnwritable,
)

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_HOLD = frozenset(
    {errno.EOVERFLOW, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EOPNOTSUPP, errno.EFBIG}
)


def target_error(error: OSError, action: str) -> DsgmigdError:
    """Return the error to raise for an OSError of the target during `action`."""
    words = f"{action} failed on the target: {error.strerror}"
    if error.errno in EXHAUSTED:
        return host_exhausted(words)
    if error.errno in _FULL:
        return TargetFull(words, hint="free space in the pool or raise the quota")
    if error.errno == errno.EROFS:
        return TargetUnwritable(words, hint="see which dataset says so: zfs get -r readonly POOL")
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


def source_error(error: OSError, action: str) -> DsgmigdError:
    """Return the error to raise for an OSError of the source during `action`."""
    words = f"{action} failed in the source: {error.strerror}"
    if error.errno in EXHAUSTED:
        return host_exhausted(words)
    return SourceUnreadable(
        words,
        hint="check the source file system: dmesg, btrfs device stats, btrfs scrub",
    )


def host_exhausted(words: str) -> HostExhausted:
    """Return the error that says, in these words, what the host had nothing left for."""
    return HostExhausted(
        words, hint="see what takes memory, processes or open files: free, ps, lsof; systemctl show"
    )


@contextlib.contextmanager
def spool_errors(action: str) -> Iterator[None]:
    """Raise SpoolFailing for an OSError of the spool in the block."""
    try:
        yield
    except OSError as error:
        raise SpoolFailing(
            f"{action} failed in the spool: {error.strerror}",
            hint="nothing is lost: it is tried again; see df, mount and dmesg for the spool's disk",
        ) from error
