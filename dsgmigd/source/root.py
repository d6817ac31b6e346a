"""The source root: whether it is there, and which repositories lie in it.

Raises: SourceMissing, SourceUnavailable, SourceUnsafe, SourceUnreadable, HostExhausted.
"""

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass

from dsgmigd.errors import (
    InvalidName,
    SourceMissing,
    SourceUnavailable,
    SourceUnreadable,
    SourceUnsafe,
)
from dsgmigd.host.file_errors import has_failed, source_error, source_errors, status_of
from dsgmigd.host.ownership import way_to, weakness_of
from dsgmigd.names import NORMALISED, RepoName, parse_repo_name

_DEVICE_GONE = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESTALE})
_FSTAB = "/etc/fstab"
_FSTAB_FIELDS = 4
_OCTAL = re.compile(rb"\\([0-7]{3})")


def check_root(root: str) -> None:
    """Check that the source root is a directory that only root or this user can exchange.

    It may be empty, and behind symbolic links. Whoever owns a repository in it may exchange what is
    in the repository, but not the repository itself.

    Raises SourceUnavailable if it does not exist or its device is gone, SourceMissing if it is
    something else, and SourceUnsafe.
    """
    try:
        is_usable = stat.S_ISDIR(os.stat(root).st_mode)
    except OSError as error:
        if has_failed(error) and error.errno not in _DEVICE_GONE:
            raise source_error(error, f"looking at the source root {root}") from error
        raise _away(f"the source root {root} cannot be used: {error.strerror}") from error
    if not is_usable:
        raise SourceMissing(
            f"the source root {root} is not a directory",
            hint="correct [source] root in the configuration",
        )
    _check_way(root)


def _check_way(root: str) -> None:
    with source_errors(f"looking at the way to the source root {root}"):
        *above, itself = way_to(root)
    # Whoever may add names in the root itself could add SV-norm beside SV.
    weak = [(one, weakness_of(one, os.geteuid())) for one in above]
    weak.append((itself, weakness_of(itself, os.geteuid(), may_be_sticky=False)))
    for component, weakness in weak:
        if weakness is not None:
            raise SourceUnsafe(
                f"unsafe source root: {component.path} {weakness.problem}", hint=weakness.fix
            )


def check_present(root: str, name: RepoName) -> None:
    """Raise SourceUnavailable if the source of a repository is away, and not only that one missing.

    What is not mounted leaves an empty directory, or one with other contents.
    """
    check_root(root)
    for end in (NORMALISED, ""):
        point = _unmounted(os.path.realpath(os.path.join(root, name + end)))
        if point is not None:
            raise _away(f"{point} is in {_FSTAB}, but not mounted")
    if not names_in(root):
        raise _away(f"the source root {root} is empty")


def _away(message: str) -> SourceUnavailable:
    return SourceUnavailable(
        message,
        hint="mount the source (see findmnt), or correct [source] root in the configuration",
    )


def _unmounted(path: str) -> str | None:
    """Return the mount point on the way to `path` that fstab(5) has and nothing is mounted on."""
    with contextlib.suppress(OSError), open(_FSTAB, "rb") as file:
        for line in file:
            fields = line.split()
            if len(fields) < _FSTAB_FIELDS or fields[0].startswith(b"#"):
                continue
            point = os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[1]))
            is_concerned = os.path.isabs(point) and _is_at_or_below(path, point)
            is_automatic = b"noauto" not in fields[3].split(b",")
            if is_concerned and is_automatic and not os.path.ismount(point):
                return point
    return None


def _is_at_or_below(path: str, point: str) -> bool:
    return f"{path}/".startswith(point.rstrip("/") + "/")


@dataclass(frozen=True)
class Listing:
    """The repositories below a source root, and why each other name there is none."""

    names: list[RepoName]
    left_out: dict[str, str]


def list_repositories(root: str) -> Listing:
    """Return every repository below `root`; hidden names and plain files are passed over.

    An entry that cannot be looked at is left out too.
    """
    check_root(root)
    found = names_in(root)
    names: list[RepoName] = []
    left_out: dict[str, str] = {}
    for name in sorted({one.removesuffix(NORMALISED) for one in found if one[0] != "."}):
        try:
            reason = _why_no_repository(root, name)
            if reason is None:
                names.append(parse_repo_name(name))
            elif reason:
                left_out[name] = reason
        except (InvalidName, SourceUnreadable) as error:
            left_out[name] = error.message
    return Listing(names, left_out)


def _why_no_repository(root: str, name: str) -> str | None:
    """Return None for a repository, and "" for what nobody takes for one."""
    for directory in (os.path.join(root, name + NORMALISED), os.path.join(root, name)):
        kind = kind_unless_directory(directory)
        if kind == "a file" and not directory.endswith(NORMALISED):
            return ""
        if kind is not None:
            return f"{directory} is {kind}, not a directory"
        if is_directory(directory):
            has_first = is_directory(os.path.join(directory, "s1"))
            return None if has_first else f"{directory} has no s1"
    return ""


def is_directory(path: str) -> bool:
    """Return whether `path` is a directory; a symbolic link to one does not count."""
    with source_errors(f"looking for {path}"):
        status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def kind_unless_directory(path: str) -> str | None:
    """Return in words what `path` is; None for a directory, and if nothing is there."""
    with source_errors(f"looking for {path}"):
        status = status_of(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return None
    return "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a file"


def names_in(directory: str) -> list[str]:
    """Return the names in a directory of the source."""
    with source_errors(f"listing {directory}"):
        return os.listdir(directory)
