"""Turn the kernel's errors on files into errors for the operator."""

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
# What is looked for is not there, or something else is.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR})
_ELSE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_HOLD = frozenset(
    {errno.EOVERFLOW, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EOPNOTSUPP, errno.EFBIG}
)


def status_of(path: str | bytes | os.PathLike[str]) -> os.stat_result | None:
    """Return what lstat(2) says of `path`; None if nothing is there.

    Unlike os.path.exists and its kin: they take a failing disk for an absent file.
    """
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def has_failed(error: BaseException) -> bool:
    """Say whether a file system or the host failed: not that something else was there, or none."""
    return isinstance(error, OSError) and error.errno not in _NOT_THERE | _ELSE


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


@contextlib.contextmanager
def source_errors(action: str) -> Iterator[None]:
    """Raise the error of `source_error` for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise source_error(error, action) from error


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
