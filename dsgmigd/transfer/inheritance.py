"""What a directory passes on to what is created in it: owner, group and default ACL (acl(5)).

A send stream names the attributes that a file has, not those that it lacks. An ACL that the
directory passed on must therefore be removed from whatever a replay creates.

Raises: OSError, as the kernel gave it.
"""

import errno
import os
import stat
from dataclasses import dataclass

_ACL = "system.posix_acl_access"
_DEFAULT_ACL = "system.posix_acl_default"
# What the kernel answers where there is no such ACL, or where the file system has none at all.
_NO_ACL = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True)
class Inheritance:
    """What a directory passes on: user and group of a new file, and whether it gets an ACL."""

    owner: tuple[int, int]
    has_acl: bool


def read_inheritance(directory: int) -> Inheritance:
    """Return what the open directory passes on to what this process creates in it."""
    status = os.fstat(directory)
    gid = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
    return Inheritance((os.geteuid(), gid), _has_default_acl(directory))


def remove_file_acl(descriptor: int) -> None:
    """Remove the ACL of an open file."""
    _remove_acl(descriptor, _ACL)


def remove_acls(parent: int, name: bytes, *, is_directory: bool) -> None:
    """Remove the ACL, and a directory's default ACL, of `name` in the open directory `parent`."""
    for acl in (_ACL, _DEFAULT_ACL) if is_directory else (_ACL,):
        _remove_acl(path_through(parent, name), acl)


def path_through(parent: int, name: bytes) -> bytes:
    """Return a path of `name` in the open directory `parent`.

    Python has no setxattrat(2). `name` must be a single component: the kernel would follow
    symbolic links in a longer path.
    """
    return b"/proc/self/fd/%d/%s" % (parent, name)


def _has_default_acl(directory: int) -> bool:
    try:
        return bool(os.getxattr(path_through(directory, b"."), _DEFAULT_ACL))
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
        return False


def _remove_acl(subject: int | bytes, acl: str) -> None:
    try:
        os.removexattr(subject, acl)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
