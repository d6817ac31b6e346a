"""Who pushed the snapshots of a repository, and its tags: read from the source.

Missing or invalid data is a warning. What is returned here for a snapshot is recorded in the target
for good. Nothing is therefore reported as missing while a file that may contain it cannot be read.

Raises: SourceUnreadable, HostExhausted.
"""

import contextlib
import os
import pwd
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from dsgmigd.dsg.entry import local_time
from dsgmigd.dsg.push_line import NO_MESSAGE, UNKNOWN_USER, Push
from dsgmigd.dsg.pushlog import LogFile, PushLogs
from dsgmigd.dsg.tags import MIGRATOR, TagLink
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import (
    has_failed,
    host_exhausted,
    source_error,
    source_errors,
    status_of,
)
from dsgmigd.host.regular import Unfit, read_regular
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import Repository
from dsgmigd.source.root import names_in

_ROOT = 0
_WARNINGS_SHOWN = 20
_CHARACTERS_SHOWN = 200
_PUSH_LOG = b".snap/push.log"
# Sixty thousand lines of 250 characters. A larger file is not a push log, or is sparse.
PUSH_LOG_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Pushes:
    """Who pushed each wanted snapshot, when and why; and warnings.

    A snapshot without a line in a push log has the user `unknown`, and the time when its subvolume
    was created. `unread` has those of them for which something is in a push log that could not be
    read, and what that is: to record `unknown` for these loses something.
    """

    by_snapshot: dict[SnapshotName, Push]
    warnings: list[str]
    unread: dict[SnapshotName, str]


def read_pushes(
    repository: Repository,
    wanted: Iterable[SnapshotName],
    checkpoint: Callable[[], None] = lambda: None,
) -> Pushes:
    """Read the push logs of a repository; `checkpoint` is called for every log."""
    wanted = list(wanted)
    failures: list[OSError] = []
    logs = PushLogs(repository.name, wanted)
    for file in push_logs(repository, failures.append, checkpoint):
        logs.take(file)
    found, warnings, unread = logs.pushes(), logs.warnings, logs.unread()
    for name in wanted:
        if name not in found:
            if failures:
                raise source_error(failures[0], f"reading a push log that may contain {name}")
            warnings.append(f"no push log has a line for {name}")
            created_at = repository.snapshot(name).created_at
            found[name] = Push(UNKNOWN_USER, created_at, NO_MESSAGE)
    return Pushes(found, warnings, unread)


def find_tags(
    repository: Repository, wanted: Collection[SnapshotName], migration_tag: str | None
) -> tuple[list[TagLink], list[str]]:
    """Return the tags of the snapshots in `wanted`, and warnings.

    A `migration_tag` is added for the last of them, unless a tag of that name exists.
    """
    found, warnings = read_tag_links(repository)
    links = [link for link in found if link.snapshot in wanted]
    if any(link.tag_id == migration_tag for link in found):
        warnings.append(f"the source already has a tag {migration_tag}: no migration tag was added")
    elif migration_tag is not None:
        message = "migrated from btrfs to ZFS"
        links.append(TagLink(migration_tag, max(wanted), MIGRATOR, time.time(), message))
    return links, warnings


def read_tag_links(repository: Repository) -> tuple[list[TagLink], list[str]]:
    """Return the tags of a repository, and warnings about links next to its snapshots.

    A tag is a symbolic link to sJ or sJ/ with any name except HEAD. The tags of the normalised copy
    are returned, and those that only the original has: a tag that was created there after the copy
    must not be lost.
    """
    links: dict[str, TagLink] = {}
    warnings = _FirstWarnings()
    for directory in _directories(repository):
        for name in sorted(names_in(directory)):
            path = os.path.join(directory, name)
            with source_errors(f"looking at {path}"):
                status = status_of(path)
            if name == "HEAD" or status is None or not stat.S_ISLNK(status.st_mode):
                continue
            try:
                with source_errors(f"reading the link {path}"):
                    link = _read_tag_link(path, status, repository)
            except (ValueError, OverflowError) as error:
                warnings.add(f"{path!a} is not a tag: {error}")
                continue
            if links.setdefault(name, link).snapshot != link.snapshot:
                warnings.add(
                    f"{path} points to {link.snapshot}; the tag in "
                    f"{repository.directory} is used: {links[name].snapshot}"
                )
    return list(links.values()), warnings.to_list("links that are no tags, or are contradicted")


class _FirstWarnings:
    """Warnings of one kind: a user can make any number of them."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, warning: str) -> None:
        self._count += 1
        if self._count <= _WARNINGS_SHOWN:
            self._first.append(warning)

    def to_list(self, kind: str) -> list[str]:
        """Return the first warnings, and how many more there are."""
        more = self._count - len(self._first)
        return [*self._first, f"{more} more {kind}"] if more else self._first


def _read_tag_link(path: str, status: os.stat_result, repository: Repository) -> TagLink:
    target = os.readlink(path).removesuffix("/")
    name = os.path.basename(path)
    if not SnapshotName.is_valid(target):
        raise ValueError(
            f"it points to {target[:_CHARACTERS_SHOWN]!a}, not to a snapshot sN next to it"
        )
    snapshot = SnapshotName.parse(target)
    if not repository.has_snapshot(snapshot):
        raise ValueError(f"there is no {snapshot} in {repository.directory}")
    name.encode("utf-8")  # raises ValueError
    local_time(status.st_mtime)  # raises OverflowError for a year that DSG cannot store
    return TagLink(name, snapshot, _user_name(status.st_uid), status.st_mtime)


def _user_name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    # A lookup that cannot open its files raises KeyError too. Root is known on every host.
    try:
        pwd.getpwuid(_ROOT)
    except KeyError as error:
        raise host_exhausted("user lookup failed") from error
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def push_logs(
    repository: Repository,
    note_failure: Callable[[OSError], None] = lambda _: None,
    checkpoint: Callable[[], None] = lambda: None,
) -> Iterator[LogFile]:
    """Yield the push logs, newest snapshot first, normalised copy before original.

    The original may have snapshots that are not normalised yet: their logs are included.
    `note_failure` is called for each log that may exist but cannot be read.
    """
    directories = _directories(repository)
    names = {name for directory in directories for name in _snapshot_names(directory)}
    for name in sorted(names, reverse=True):
        for directory in directories:
            checkpoint()
            file = _read_push_log(os.path.join(directory, str(name)), note_failure)
            if file is not None:
                yield file


def _directories(repository: Repository) -> list[str]:
    """Return the directory of the repository, and that of the original if this is a copy."""
    original = os.path.join(repository.root, repository.name)
    with source_errors(f"looking for {original}"):
        status = status_of(original)
    is_there = status is not None and stat.S_ISDIR(status.st_mode)
    is_copy = original != repository.directory and is_there
    return [repository.directory, original] if is_copy else [repository.directory]


def _snapshot_names(directory: str) -> list[SnapshotName]:
    return [SnapshotName.parse(name) for name in names_in(directory) if SnapshotName.is_valid(name)]


def _read_push_log(snapshot: str, note_failure: Callable[[OSError], None]) -> LogFile | None:
    origin = os.path.join(snapshot, os.fsdecode(_PUSH_LOG))
    try:
        with Directories(snapshot) as directories:
            parent, name = directories.parent_of(_PUSH_LOG)
            return LogFile(origin, read_regular(name, PUSH_LOG_LIMIT_BYTES, dir_fd=parent))
    except Unfit as error:
        return LogFile(origin, problem=error.strerror)
    except (FileNotFoundError, NotADirectoryError):
        is_linked = os.path.islink(os.path.dirname(origin))
        return LogFile(origin, problem="its directory is a symbolic link") if is_linked else None
    except OSError as error:
        if has_failed(error):
            note_failure(error)
        return LogFile(origin, problem=error.strerror)
