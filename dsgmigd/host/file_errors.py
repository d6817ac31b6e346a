"""Turn an OSError into an error for the operator, by the side on which it happened.

Raises: the errors that the functions return.
"""

import contextlib
import errno
import os
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
# The path does not exist, or is something else than expected.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
_OTHER_TYPE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_HOLD = frozenset(
    {errno.EOVERFLOW, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EOPNOTSUPP, errno.EFBIG}
)


def status_of(path: str | bytes | os.PathLike[str]) -> os.stat_result | None:
    """Return the lstat(2) result of `path`; None if it does not exist.

    os.path.exists and similar functions cannot tell a failing disk from a missing file.
    """
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def has_failed(error: BaseException) -> bool:
    """Say whether the file system or the host failed, and not only the lookup of a path."""
    return isinstance(error, OSError) and error.errno not in _NOT_THERE | _OTHER_TYPE


def target_error(error: OSError, action: str) -> DsgmigdError:
    """Return the error to raise for an OSError of the target during `action`."""
    message = f"{action} failed on the target: {error.strerror}"
    if error.errno in EXHAUSTED:
        return host_exhausted(message)
    if error.errno in _FULL:
        return TargetFull(message, hint="free space in the pool or raise the quota")
    if error.errno == errno.EROFS:
        return TargetUnwritable(
            message, hint="find the read-only dataset: zfs get -r readonly POOL"
        )
    if error.errno in _CANNOT_HOLD:
        return TargetRefused(
            message, hint="the target file system cannot store this name, size or attribute"
        )
    return TargetUnwritable(message, hint="check the pool: zpool status -v")


@contextlib.contextmanager
def target_errors(action: str) -> Iterator[None]:
    """Raise the error of `target_error` for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise target_error(error, action) from error


@contextlib.contextmanager
def source_errors(action: str) -> Iterator[None]:
    """Raise the error of `source_error` for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise source_error(error, action) from error


def source_error(error: OSError, action: str) -> DsgmigdError:
    """Return the error to raise for an OSError of the source during `action`."""
    message = f"{action} failed in the source: {error.strerror}"
    if error.errno in EXHAUSTED:
        return host_exhausted(message)
    return SourceUnreadable(
        message,
        hint="check the source file system: dmesg, btrfs device stats, btrfs scrub",
    )


def host_exhausted(message: str) -> HostExhausted:
    """Return the error for an action that failed because the host lacks memory or descriptors."""
    return HostExhausted(
        message,
        hint="find what uses the memory, processes or open files: free, ps, lsof, systemctl show",
    )


@contextlib.contextmanager
def spool_errors(action: str) -> Iterator[None]:
    """Raise SpoolFailing for an OSError of the spool in the block."""
    try:
        yield
    except OSError as error:
        raise SpoolFailing(
            f"{action} failed in the spool: {error.strerror}",
            hint="no data is lost, dsgmigd tries again; check the spool's disk: df, mount, dmesg",
        ) from error
