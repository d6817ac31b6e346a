"""The directory below the source root in which all pins are: see `pin_names` for what is in it.

Every directory is opened below its parent, never through a symbolic link, and belongs to this user
alone. Nothing is deleted but what `reason_against` calls a pin.

Raises: SourceUnsafe, SourceUnreadable, HostExhausted, PinImpossible.
"""

import contextlib
import os
import shlex
import stat
from dataclasses import dataclass
from typing import Self

from dsgmigd.errors import PinImpossible, SourceUnsafe
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_errors, status_of
from dsgmigd.names import is_uuid
from dsgmigd.source.pin_names import (
    PINS_DIRECTORY,
    PinName,
    PinSet,
    parse_pin_name,
    parse_set_name,
    reason_against,
)
from dsgmigd.source.subvolume import (
    Subvolume,
    create_pin,
    delete_pin,
    pin_problem,
    read_subvolume,
)

_MAKE_ATTEMPTS = 10


@dataclass(frozen=True)
class Stranger:
    """Something among the pins that is never touched, and why; `path` is below the source root."""

    path: str
    why: str


@dataclass(frozen=True)
class Contents:
    """What is in a directory of pins, in the order of the snapshots."""

    pins: list[PinName]
    strangers: list[Stranger]


class PinArea:
    """All pins below one source root, which is open as long as this is."""

    def __init__(self, root: str) -> None:
        self._root = root
        with source_errors(f"opening {root}"):
            self._tree = Directories(os.path.join(root, "."))  # the root may be behind a link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.close()

    def where(self, path: str) -> str:
        """Return the whole path of what has this path below the source root."""
        return os.path.join(self._root, path)

    def sets(self) -> tuple[list[PinSet], list[Stranger]]:
        """Return the directories of pins, and what else is beside them."""
        found, strangers = self._sets_of(None)
        for name in self._names(PINS_DIRECTORY):
            if is_uuid(name):
                path = f"{PINS_DIRECTORY}/{name}"
                problem = self._problem_of(path)
                if problem is not None:
                    strangers.append(Stranger(path, f"it {problem}"))
                    continue
                of_spool = self._sets_of(name)
                found += of_spool[0]
                strangers += of_spool[1]
        return found, strangers

    def _sets_of(self, spool_id: str | None) -> tuple[list[PinSet], list[Stranger]]:
        found, strangers = [], []
        above = f"{PINS_DIRECTORY}/{spool_id}" if spool_id else PINS_DIRECTORY
        for name in self._names(above):
            pin_set = parse_set_name(name, spool_id)
            if pin_set is not None:
                found.append(pin_set)
            elif spool_id or not is_uuid(name):
                strangers.append(Stranger(f"{above}/{name}", "its name is not REPO.REQUESTID"))
        return found, strangers

    def look_into(self, pin_set: PinSet) -> Contents:
        """Return the pins of a request, and what else is among them."""
        pins, strangers = [], []
        problem = None
        if self._open(pin_set.above) is not None:
            with (
                source_errors(f"looking for {self.where(pin_set.path)}"),
                contextlib.suppress(FileNotFoundError),
            ):
                problem = self._problem_of(pin_set.path)
        if problem is not None:
            return Contents([], [Stranger(pin_set.path, f"it {problem}")])
        for name in self._names(pin_set.path):
            path, pin_name = f"{pin_set.path}/{name}", parse_pin_name(name)
            why = reason_against(pin_name, read_subvolume(self._through(path)))
            if pin_name is not None and why is None:
                pins.append(pin_name)
            else:
                strangers.append(Stranger(path, str(why)))
        return Contents(sorted(pins, key=lambda pin: pin.snapshot), strangers)

    def read(self, pin_set: PinSet, name: PinName) -> Subvolume | None:
        """Return the pin of this name; None if there is none."""
        if self._open(pin_set.path) is None:
            return None
        through = self._through(f"{pin_set.path}/{name}")
        with source_errors(f"looking for a pin of {name.snapshot}"):
            found = read_subvolume(through) if status_of(through) is not None else None
        return found if reason_against(name, found) is None else None

    def create(self, pin_set: PinSet, name: PinName, source: str) -> None:
        """Pin the subvolume at `source`; raises PinImpossible, its message is only the reason."""
        try:
            self._make(pin_set)
        except OSError as error:
            raise PinImpossible(
                pin_problem(error), hint="the source root must be writable"
            ) from error
        create_pin(source, self._through(f"{pin_set.path}/{name}"))

    def delete(self, pin_set: PinSet) -> Contents:
        """Delete the pins of a request, and their directory if it is empty then.

        Returns them, and what else is there.
        """
        found = self.look_into(pin_set)
        for name in found.pins:
            path = f"{pin_set.path}/{name}"
            delete_pin(self._through(path), shown=self.where(path))
        if not found.strangers:
            self._remove(pin_set.path)
        if pin_set.spool_id:
            self._remove_if_empty(pin_set.above)
        return found

    def remove_if_empty(self) -> None:
        """Remove the directory of all pins, unless it has pins of other requests."""
        self._remove_if_empty(PINS_DIRECTORY)

    def _remove_if_empty(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self._rmdir(path)

    def _make(self, pin_set: PinSet) -> None:
        for attempt in range(_MAKE_ATTEMPTS):
            try:
                for path in dict.fromkeys((PINS_DIRECTORY, pin_set.above, pin_set.path)):
                    parent, name = self._tree.parent_of(os.fsencode(path))
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=parent)
                    self._check(path)
            except FileNotFoundError:  # another instance has just removed the empty directory above
                self._tree.forget_all()
                if attempt + 1 == _MAKE_ATTEMPTS:
                    raise
            else:
                return

    def _remove(self, path: str) -> None:
        try:
            self._rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PinImpossible(
                f"cannot remove {self.where(path)}: {error.strerror}",
                hint="mount the source writable, or check its file system: mount, df, dmesg",
            ) from error

    def _rmdir(self, path: str) -> None:
        self._tree.forget(os.fsencode(path))
        parent, name = self._tree.parent_of(os.fsencode(path))
        os.rmdir(name, dir_fd=parent)

    def _names(self, path: str) -> list[str]:
        if self._open(path) is None:
            return []
        with source_errors(f"listing {self.where(path)}"):
            return sorted(self._tree.names(os.fsencode(path)))

    def _through(self, path: str) -> str:
        """Return another path of it, which no rename of a directory above leads elsewhere."""
        directory, name = os.path.split(path)
        return f"/proc/self/fd/{self._tree.open(os.fsencode(directory))}/{name}"

    def _open(self, path: str) -> int | None:
        """Return a descriptor of a directory of ours; None if there is none."""
        parts = path.split("/")
        with source_errors(f"opening {self.where(path)}"):
            try:
                for count in range(1, len(parts) + 1):
                    self._check("/".join(parts[:count]))
                return self._tree.open(os.fsencode(path))
            except FileNotFoundError:
                return None

    def _check(self, path: str) -> None:
        problem = self._problem_of(path)
        if problem is not None:
            where = self.where(path)
            raise SourceUnsafe(
                f"{where} {problem}: dsgmigd keeps its pins in directories of its own",
                hint=f"look at it, and move it away: mv -T -- {shlex.quote(where)} "
                f"{shlex.quote(f'{where}.foreign')}",
            )

    def _problem_of(self, path: str) -> str | None:
        """Return why something is no directory of ours; raises OSError."""
        try:
            status = os.fstat(self._tree.open(os.fsencode(path)))
        except NotADirectoryError:  # O_PATH opens a link itself
            is_link = stat.S_ISLNK(self._tree.lstat(os.fsencode(path)).st_mode)
            return "is a symbolic link" if is_link else "is not a directory"
        if status.st_uid != os.geteuid():
            return f"belongs to user {status.st_uid}"
        if status.st_mode & 0o022:
            return "is group- or world-writable"
        is_subvolume = read_subvolume(f"{self._through(path)}/.") is not None
        return "is a subvolume" if is_subvolume else None
