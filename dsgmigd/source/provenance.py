"""Who made the snapshots of a repository, and its tags: read from the source.

What is missing or odd is a warning. What is said here of a snapshot stays with it for ever: so
nothing is called missing while a file that may tell of it cannot be read.

Leaving errors: SourceUnreadable, HostExhausted.
"""

import contextlib
import os
import pwd
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from dsgmigd.descriptors import Directories
from dsgmigd.dsg.entry import local_time
from dsgmigd.dsg.pushlog import NO_MESSAGE, UNKNOWN_USER, LogFile, Push, find_pushes
from dsgmigd.dsg.tags import MIGRATOR, TagLink
from dsgmigd.durable import open_safely
from dsgmigd.file_errors import has_failed, host_exhausted, source_error, source_errors, status_of
from dsgmigd.names import SnapshotName
from dsgmigd.source import Repository, names_in

_ROOT = 0
_PUSH_LOG = b".snap/push.log"
# A million lines of 250 characters. What is larger is no push log, or a hole without end.
_PUSH_LOG_BYTES = 256 * 1024 * 1024


def read_pushes(
    repository: Repository, wanted: Iterable[SnapshotName]
) -> tuple[dict[SnapshotName, Push], list[str]]:
    """Return who pushed each wanted snapshot, when and why, and warnings.

    What no push log has a line for was pushed by nobody known, when its subvolume was made.
    """
    wanted = list(wanted)
    failures: list[OSError] = []
    logs = push_logs(repository, failures.append)
    found, warnings = find_pushes(logs, repository.name, wanted)
    for name in wanted:
        if name not in found:
            if failures:
                raise source_error(failures[0], f"reading a push log that may tell of {name}")
            warnings.append(f"no push log has a line for {name}")
            created_at = repository.snapshot(name).created_at
            found[name] = Push(UNKNOWN_USER, created_at, NO_MESSAGE)
    return found, warnings


def find_tags(
    repository: Repository, wanted: Collection[SnapshotName], migration_tag: str | None
) -> tuple[list[TagLink], list[str]]:
    """Return the tags of the snapshots in `wanted`, and warnings.

    A `migration_tag` is one more for the last of them, unless somebody's link has its name.
    """
    found, warnings = read_tag_links(repository)
    links = [link for link in found if link.snapshot in wanted]
    if any(link.tag_id == migration_tag for link in found):
        warnings.append(f"the source has a tag {migration_tag}: no migration tag was added")
    elif migration_tag is not None:
        message = "migrated from btrfs to ZFS"
        links.append(TagLink(migration_tag, max(wanted), MIGRATOR, time.time(), message))
    return links, warnings


def read_tag_links(repository: Repository) -> tuple[list[TagLink], list[str]]:
    """Return the tags of a repository, and warnings of links beside its snapshots that are none.

    A tag is a symbolic link to sJ or sJ/, by whatever name but HEAD. Those of the normalised copy
    count, and those of the original too that the copy lacks: who made a tag there after the copy
    was made does not expect to lose it.
    """
    links: dict[str, TagLink] = {}
    warnings = []
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
                warnings.append(f"{path!a} is no tag: {error}")
                continue
            if links.setdefault(name, link).snapshot != link.snapshot:
                warnings.append(f"{path} leads to {link.snapshot}; {links[name].snapshot} counts")
    return list(links.values()), warnings


def _read_tag_link(path: str, status: os.stat_result, repository: Repository) -> TagLink:
    target = os.readlink(path).removesuffix("/")
    name = os.path.basename(path)
    if not SnapshotName.is_valid(target):
        raise ValueError(f"it leads to {target!a}, not to a snapshot sN beside it")
    snapshot = SnapshotName.parse(target)
    if all(one.name != snapshot for one in repository.snapshots):
        raise ValueError(f"there is no {snapshot} in {repository.directory}")
    name.encode("utf-8")  # a ValueError otherwise
    local_time(status.st_mtime)  # an OverflowError beyond the years that DSG can say
    return TagLink(name, snapshot, _user_name(status.st_uid), status.st_mtime)


def _user_name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    # A lookup that cannot open its files says the same. Root is known wherever one works.
    try:
        pwd.getpwuid(_ROOT)
    except KeyError as error:
        raise host_exhausted("no user could be looked up") from error
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def push_logs(
    repository: Repository, note_failure: Callable[[OSError], None] = lambda _: None
) -> Iterator[LogFile]:
    """Yield the push logs, newest snapshot first, normalised before original.

    `note_failure` hears of each that is there, perhaps, and cannot be read.
    The original may have snapshots that were not normalised yet: their logs count too.
    """
    directories = _directories(repository)
    names = {name for directory in directories for name in _snapshot_names(directory)}
    for name in sorted(names, reverse=True):
        for directory in directories:
            file = _read_push_log(os.path.join(directory, str(name)), note_failure)
            if file is not None:
                yield file


def _directories(repository: Repository) -> list[str]:
    """Return the repository's directory, and that of the original if it is a normalised copy."""
    original = os.path.join(repository.root, repository.name)
    with source_errors(f"looking for {original}"):
        status = status_of(original)
    is_there = status is not None and stat.S_ISDIR(status.st_mode)
    is_beside = original != repository.directory and is_there
    return [repository.directory, original] if is_beside else [repository.directory]


def _snapshot_names(directory: str) -> list[SnapshotName]:
    return [SnapshotName.parse(name) for name in names_in(directory) if SnapshotName.is_valid(name)]


def _read_push_log(snapshot: str, note_failure: Callable[[OSError], None]) -> LogFile | None:
    origin = os.path.join(snapshot, os.fsdecode(_PUSH_LOG))
    try:
        with Directories(snapshot) as directories:
            parent, name = directories.parent_of(_PUSH_LOG)
            return LogFile(origin, _read_regular(os.fsdecode(name), parent))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        return LogFile(origin, problem=str(error))
    except OSError as error:
        if has_failed(error):
            note_failure(error)
        return LogFile(origin, problem=error.strerror)


def _read_regular(name: str, directory: int) -> bytes:
    with open(name, "rb", opener=partial(open_safely, dir_fd=directory)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > _PUSH_LOG_BYTES:
            raise ValueError(f"it is larger than {_PUSH_LOG_BYTES} bytes")
        return file.read()
