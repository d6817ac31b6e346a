"""Pins that dead requests left below the source root.

Ours are directories REPO.REQUESTID, with the UUID of a request, and in them read-only snapshots
called sK. Nothing else there is touched.

Leaving errors: SourceMissing, SourceUnreadable, PinImpossible.
"""

import contextlib
import errno
import os
import stat
import uuid

from dsgmigd.btrfs.subvolume import delete_pin, read_subvolume
from dsgmigd.doctor.leftover import Leftover, foreign
from dsgmigd.errors import InvalidName, PinImpossible, SourceUnreadable
from dsgmigd.names import RepoName, SnapshotName, parse_repo_name
from dsgmigd.pins import PINS_DIRECTORY
from dsgmigd.source import check_root


class PinPlace:
    """The pins of all requests below one source root."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._area = os.path.join(root, PINS_DIRECTORY)

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have pins, living or dead."""
        owners = (_owner(name) for name in self._names())
        return {owner[0] for owner in owners if owner}

    def strangers(self) -> list[Leftover]:
        """Return what can be no repository's."""
        if os.path.lexists(self._area) and not _is_directory(self._area):
            return [foreign(self._area, "it should be a directory")]
        return [
            foreign(os.path.join(self._area, name), "its name is not REPO.REQUESTID")
            for name in self._names()
            if not _owner(name)
        ]

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the pins of `repo`, and what lies among them."""
        found = []
        for name in self._names():
            owner = _owner(name)
            if owner and owner[0] == repo:
                found += _look_into(os.path.join(self._area, name), *owner)
        return found

    def remove(self, leftover: Leftover) -> None:
        """Delete the pins in one directory, then the directory if nothing else is in it."""
        for name in _list(leftover.where):
            path = os.path.join(leftover.where, name)
            if _why_no_pin(path) is None:
                delete_pin(path)
        _remove_if_empty(leftover.where)
        with contextlib.suppress(OSError):  # other requests have pins there
            os.rmdir(self._area)

    def _names(self) -> list[str]:
        check_root(self._root)
        return _list(self._area) if _is_directory(self._area) else []


def _owner(name: str) -> tuple[RepoName, str] | None:
    """Return repository and request of a directory of pins; None for any other name."""
    repo, _, request_id = name.rpartition(".")
    try:
        if str(uuid.UUID(request_id)) == request_id:
            return parse_repo_name(repo), request_id
    except (ValueError, InvalidName):
        pass
    return None


def _look_into(directory: str, repo: RepoName, request_id: str) -> list[Leftover]:
    if not _is_directory(directory) or read_subvolume(directory) is not None:
        return [foreign(directory, "it should be a plain directory of pins")]
    pins, strangers = [], []
    for name in _list(directory):
        path = os.path.join(directory, name)
        why = _why_no_pin(path)
        if why is None:
            pins.append(SnapshotName.parse(name))
        else:
            strangers.append(foreign(path, why))
    if strangers and not pins:
        return strangers
    what = ", ".join(map(str, sorted(pins))) or "an empty directory"
    why = f"pins of a request that is no more: {what}"
    return [Leftover("pins", directory, why, "remove", repo, request_id), *strangers]


def _why_no_pin(path: str) -> str | None:
    """Say why something among pins is none; None if it is one."""
    subvolume = read_subvolume(path)
    if not SnapshotName.is_valid(os.path.basename(path)):
        return "its name is not that of a pin"
    if subvolume is None or subvolume.parent_uuid is None:
        return "it is no snapshot"
    return None if subvolume.is_read_only else "it is writable, and a pin is not"


def _is_directory(path: str) -> bool:
    return os.path.lexists(path) and stat.S_ISDIR(os.lstat(path).st_mode)


def _list(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SourceUnreadable(
            f"cannot list {directory}: {error.strerror}", hint="check the source file system"
        ) from error


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
            raise PinImpossible(
                f"cannot remove {directory}: {error.strerror}", hint="mount the source writable"
            ) from error
