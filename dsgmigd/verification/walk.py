"""One walk over a source snapshot and a target snapshot, side by side.

Names must agree in both directions; type, mode, owner, mtime, size, link target, device, hard-link
groups and extended attributes must agree at the target's ability, and contents where they are read.

Where another subvolume or file system begins in the source, nothing of it was migrated: an empty
directory has to stand in the target, and the result names it.

Leaving errors: those of side.py, whatever the checkpoint raises. Differences are data, not errors.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsgmigd.abilities import Abilities, is_carried_xattr
from dsgmigd.dsg.scope import Scope
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.request import Loss
from dsgmigd.verify.compare import Discrepancy, compare_status, is_same_file, printable
from dsgmigd.verify.contents import Contents, Pair, ToRead
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.listing import hash_entry
from dsgmigd.verify.metadata import ManifestView, manifest_time
from dsgmigd.verify.proof import Moments, Proofs
from dsgmigd.verify.side import Side

_NAMES_AT_ONCE = 1000


@dataclass(frozen=True)
class Reading:
    """Which contents a walk reads: all, none, or those that are not proven; by which threads."""

    pool: ThreadPoolExecutor
    all: bool = False
    none: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file on both sides, all but its content compared."""

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    entry_hash: int
    is_proven: bool


class Walk:
    """One walk; its state dies with it."""

    def __init__(
        self,
        source: Side,
        target: Side,
        *,
        result: Verification,
        view: ManifestView,
        proofs: Proofs,
        moments: Moments,
        abilities: Abilities,
        reading: Reading,
        scope: Scope,
        checkpoint: Callable[[], None],
    ) -> None:
        self._source = source
        self._target = target
        self._result = result
        self._view = view
        self._proofs = proofs
        self._moments = moments
        self._abilities = abilities
        self._reading = reading
        self._contents = Contents(source, target, reading.pool)
        self._scope = scope
        self._checkpoint = checkpoint
        self._target_of: dict[int, int] = {}
        self._source_of: dict[int, int] = {}

    def compare_all(self) -> None:
        """Compare the two trees from their roots down, and the manifest with what is there."""
        with self._contents:
            self._compare_trees()
        for path in self._view.listing.untaken():
            self._differ(path, "manifest", "not there", "listed")

    def compare_some(self, names: dict[str, set[str]], directories: Iterable[str]) -> None:
        """Compare `names` by the directory they stand in, and what `directories` list."""
        with self._contents:
            self._compare_places(names, set(directories))

    def _compare_trees(self) -> None:
        self._compare_root()
        waiting = [""]
        while waiting:
            path = waiting.pop()
            names = self._common_names(path)
            below: list[str] = []
            for start in range(0, len(names), _NAMES_AT_ONCE):
                below += self._compare_names(path, names[start : start + _NAMES_AT_ONCE])
            waiting += reversed(below)
        self._compare_contents()

    def _compare_places(self, names: dict[str, set[str]], wanted: set[str]) -> None:
        self._compare_root()
        for path in sorted(wanted | names.keys()):
            if not self._target.has_directory(path):
                self._differ(path, "presence", "there", "missing")
                continue
            if path in wanted:
                self._common_names(path)
            self._compare_names(path, sorted(names.get(path, ())))
        self._compare_contents()

    def _compare_root(self) -> None:
        root = Pair(".", ".", self._source.open(""), self._target.open(""))
        self._compare_status(root, self._source.root_status, self._target.root_status)

    def _common_names(self, path: str) -> list[str]:
        """Report the names that one side lacks in the directory `path`; return the others."""
        in_source, in_target = set(self._source.names(path)), set(self._target.names(path))
        if not path:
            in_source = {name for name in in_source if not is_excluded_name(os.fsencode(name))}
            in_target.discard(os.fsdecode(DSG_DIRECTORY))
        for name in sorted(in_source - in_target):
            self._differ(_join(path, name), "presence", "there", "missing")
        for name in sorted(in_target - in_source):
            self._differ(_join(path, name), "presence", "not there", "extra")
        return sorted(in_source & in_target)

    def _compare_names(self, path: str, names: list[str]) -> list[str]:
        """Compare what stands under `names` in the directory `path`; return directories."""
        # All of one side, then all of the other: the target may be another process, and turning to
        # it for every single name costs more than the answer.
        of_target = self._target.statuses(path, names)
        of_source = self._source.statuses(path, names)
        source, target = self._source.open(path), self._target.open(path)
        files: list[_File] = []
        directories: list[str] = []
        self._checkpoint()
        for name, here, there in zip(names, of_source, of_target, strict=True):
            whole = _join(path, name)
            if here is None or there is None:
                self._differ(whole, "presence", _presence(here), _presence(there))
            elif self._source.is_border(here):
                self._compare_border(whole, there)
            elif not self._is_proven_file(whole, here, there):
                found = self._compare_status(Pair(whole, name, source, target), here, there)
                if isinstance(found, _File):
                    files.append(found)
                elif found is not None:
                    directories.append(found.path)
        if self._contents.put(self._to_read(files)):
            self._compare_contents()
        return directories

    def _is_proven_file(self, path: str, source: os.stat_result, target: os.stat_result) -> bool:
        """Say whether a listed file is the same on both sides and proven; if so, that was all."""
        if self._reading.all or not is_same_file(source, target, self._abilities):
            return False
        listed = self._view.listing.find(path)
        if listed is None:
            return False
        number, entry = listed
        if not self._proofs.holds(source, target, hash_entry(entry), self._moments):
            return False
        self._view.listing.tick_off(number)
        self._result.entries += 1
        self._result.files += 1
        self._result.files_proven += not self._reading.none
        self._note_loss(self._abilities.mtime_loss(source.st_mtime_ns), path)
        self._compare_link_groups(path, source, target)
        return True

    def _compare_border(self, path: str, target: os.stat_result) -> None:
        self._result.entries += 1
        self._result.add_border(path)
        if not stat.S_ISDIR(target.st_mode):
            self._differ(path, "type", "an empty directory", stat.filemode(target.st_mode)[0])
            return
        for name in self._target.names(path):
            self._differ(_join(path, name), "presence", "beyond the border", "extra")

    def _compare_status(
        self, pair: Pair, source: os.stat_result, target: os.stat_result
    ) -> _File | Pair | None:
        """Compare all but contents; return a file to read, a directory to enter, or None."""
        self._checkpoint()
        self._result.entries += 1
        found = compare_status(pair.path, source, target, self._abilities)
        self._result.add(found)
        self._note_loss(self._abilities.mtime_loss(source.st_mtime_ns), pair.path)
        if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
            return None
        is_directory = stat.S_ISDIR(source.st_mode)
        entry_hash = 0 if is_directory else self._view.listing.hash_of(pair.path)
        is_proven = not self._reading.all and self._proofs.holds(
            source, target, entry_hash, self._moments
        )
        if not is_proven:
            self._compare_xattrs(pair)
        if stat.S_ISREG(source.st_mode):
            self._compare_link_groups(pair.path, source, target)
            return _File(pair, source, target, entry_hash, is_proven)
        if stat.S_ISLNK(source.st_mode):
            self._compare_links(pair)
        elif not is_directory:
            self._result.add_unlisted(pair.path)
        if not is_proven:
            self._proofs.add(source, target, entry_hash)
        return pair if is_directory else None

    def _compare_links(self, pair: Pair) -> None:
        source = self._source.reference(pair.path, pair.name, pair.source)
        target = self._target.reference(pair.path, pair.name, pair.target)
        if source != target:
            self._differ(pair.path, "link target", printable(source), printable(target))
        entry = self._entry(pair, source)
        if entry is not None and json.loads(entry).get("reference") != source:
            self._differ(pair.path, "manifest reference", source, entry.decode())

    def _compare_link_groups(
        self, path: str, source: os.stat_result, target: os.stat_result
    ) -> None:
        if source.st_nlink > 1:
            self._check_group(self._target_of, source.st_ino, target.st_ino, path)
        if target.st_nlink > 1:
            self._check_group(self._source_of, target.st_ino, source.st_ino, path)

    def _check_group(self, known: dict[int, int], one: int, other: int, path: str) -> None:
        if known.setdefault(one, other) != other:
            self._differ(path, "hard links", "another group", "this group")

    def _compare_xattrs(self, pair: Pair) -> None:
        source = self._held_xattrs(pair)
        if not self._abilities.xattrs and not self._abilities.acls:
            return
        found = self._target.xattrs(pair.path, pair.name, pair.target)
        target = {name: found[name] for name in found if is_carried_xattr(name)}
        for name in sorted(source.keys() | target.keys()):
            if source.get(name) != target.get(name):
                self._differ(pair.path, f"xattr {name}", source.get(name), target.get(name))

    def _held_xattrs(self, pair: Pair) -> dict[str, bytes]:
        """Return those attributes of the source that the target has to have."""
        found = self._source.xattrs(pair.path, pair.name, pair.source)
        losses = {name: self._abilities.xattr_loss(name) for name in found}
        carried = {name for name in found if is_carried_xattr(name)}
        for loss in {losses[name] for name in carried}:
            self._note_loss(loss, pair.path)
        return {name: found[name] for name in carried if losses[name] is None}

    def _note_loss(self, loss: Loss | None, path: str) -> None:
        if loss is not None:
            self._result.add_loss(loss, path)

    def _to_read(self, files: list[_File]) -> list[ToRead]:
        """Compare files with their entries in the manifest; return those that have to be read."""
        to_read = []
        for file in files:
            self._result.files += 1
            entry = self._entry(file.pair, is_proven=file.is_proven)
            if file.is_proven:
                self._result.files_proven += not self._reading.none
            elif self._reading.none:
                self._proofs.add(file.source, file.target, file.entry_hash)
            elif file.source.st_size == file.target.st_size:
                to_read.append(ToRead(file.pair, file.source, file.target, entry, file.entry_hash))
        return to_read

    def _compare_contents(self) -> None:
        for file, (source, source_bytes), (target, target_bytes) in self._contents.read_waiting():
            self._checkpoint()
            self._result.files_read += 1
            self._result.source_bytes_read += source_bytes
            self._result.target_bytes_read += target_bytes
            if source != target:
                self._differ(file.pair.path, "content", source, target)
            elif self._agrees(file, target):
                self._proofs.add(file.source, file.target, file.entry_hash)

    def _agrees(self, file: ToRead, digest: str) -> bool:
        """Compare a file's entry in the manifest, if it has one, with the file itself."""
        if file.entry is None:
            return True
        size, mtime = file.target.st_size, file.target.st_mtime
        expected = ("file", size, manifest_time(mtime), digest)
        said = json.loads(file.entry)
        found = tuple(said.get(key) for key in ("type", "filesize", "mtime", "hash"))
        if found != expected:
            self._differ(file.pair.path, "manifest entry", expected, found)
        return found == expected

    def _entry(
        self, pair: Pair, reference: str | None = None, *, is_proven: bool = False
    ) -> bytes | None:
        entry = self._view.listing.take(pair.path)
        if entry is not None and is_proven:
            return entry  # it was listed, and with right, in the snapshot before
        bytes_reference = None if reference is None else os.fsencode(reference)
        has_entry = self._scope.lists(os.fsencode(pair.path), bytes_reference)
        if has_entry and entry is None:
            self._differ(pair.path, "manifest", "there", "not listed")
        elif entry is not None and not has_entry:
            self._differ(pair.path, "manifest", "of a kind that no manifest lists", "listed")
        elif entry is None:
            self._result.add_unlisted(pair.path)
        return entry

    def _differ(self, path: str, attribute: str, source: object, target: object) -> None:
        self._result.add([Discrepancy(printable(path), attribute, str(source), str(target))])


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _presence(status: os.stat_result | None) -> str:
    return "missing" if status is None else "there"
