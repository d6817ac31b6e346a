"""One walk over a source snapshot and a target snapshot, side by side.

Names must agree in both directions. Type, mode, owner, mtime, size, link target, device, hard
links and extended attributes must agree as far as the target can store them, and so must contents
where they are read.

A nested subvolume or another file system in the source is not migrated: the target must have an
empty directory there, and the result names the path.

Raises: the errors of `side`, and whatever the checkpoint raises. Differences are data, not errors.
"""

import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.request import Loss
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.batch import NAMES_AT_ONCE, Batch, BatchReader, Place, may_be_stub
from dsgmigd.verification.compare import compare_status, is_same_file, printable, type_of
from dsgmigd.verification.contents import Contents, Pair, ToRead
from dsgmigd.verification.entries import compare_file_entry, compare_link_entry, take_entry
from dsgmigd.verification.link_groups import LinkGroups
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_context import WalkContext
from dsgmigd.verification.walk_proofs import Kind, Slot, WalkProofs, kind_of_file
from dsgmigd.verification.xattrs import compare_xattrs

# The root is the only name in it.
_ABOVE_ROOT = Place(".", 0)
_IN_SOURCE = "present in the source"
_NOT_IN_SOURCE = "not in the source"


@dataclass(frozen=True)
class Reading:
    """Which contents a walk reads: all, none, or those that are not proven; and its threads."""

    pool: ThreadPoolExecutor
    all: bool = False
    none: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file on both sides, in which everything but the content was compared."""

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    slot: Slot


class Walk:
    """Compares one pair of snapshots; make a new one for the next pair."""

    def __init__(
        self,
        source: Side,
        target: Side,
        context: WalkContext,
        *,
        proofs: WalkProofs,
        capabilities: Capabilities,
        reading: Reading,
    ) -> None:
        self._source = source
        self._target = target
        self._context = context
        self._result = context.result
        self._listing = context.view.listing
        self._capabilities = capabilities
        self._reading = reading
        self._contents = Contents(source, target, reading.pool)
        self._link_groups = LinkGroups(proofs.linked)
        self._batches = BatchReader(
            source,
            target,
            listing=self._listing,
            proofs=proofs,
            moments=context.moments,
            trusts_proofs=not reading.all,
        )

    def compare_all(self) -> None:
        """Compare the two trees from their roots down, and the manifest with what exists."""
        with self._contents:
            self._compare_trees()
        for path in self._listing.untaken():
            self._context.differ(path, "manifest", "it does not exist", "listed")

    def compare_some(self, names: dict[str, set[str]], directories: Iterable[str]) -> None:
        """Compare `names`, grouped by their directory, and the names in `directories`."""
        with self._contents:
            self._compare_directories(names, set(directories))

    def _compare_trees(self) -> None:
        self._compare_root()
        waiting = [Place("", self._source.root_status.st_ino)]
        while waiting:
            place = waiting.pop()
            names = self._common_names(place.path)
            below: list[Place] = []
            for start in range(0, len(names), NAMES_AT_ONCE):
                below += self._compare_names(place, names[start : start + NAMES_AT_ONCE])
            waiting += reversed(below)
        self._compare_contents()

    def _compare_directories(self, names: dict[str, set[str]], listed: set[str]) -> None:
        self._compare_root()
        for path in sorted(listed | names.keys()):
            if not self._target.has_directory(path):
                self._context.differ(path, "presence", _IN_SOURCE, "missing")
                continue
            if path in listed:
                self._common_names(path)
            some = sorted(names.get(path, ()))
            for start in range(0, len(some), NAMES_AT_ONCE):
                self._compare_names(Place(path, 0), some[start : start + NAMES_AT_ONCE])
        self._compare_contents()

    def _compare_root(self) -> None:
        slot = self._batches.read(_ABOVE_ROOT, ["."]).slot(0)
        root = Pair(".", ".", self._source.open(""), self._target.open(""))
        self._compare_status(root, self._source.root_status, self._target.root_status, slot)

    def _common_names(self, path: str) -> list[str]:
        """Report the names that only one side has in the directory `path`; return the others."""
        names, in_target = self._source.names(path), set(self._target.names(path))
        if not path:
            names = [name for name in names if not is_excluded_name(os.fsencode(name))]
            in_target.discard(os.fsdecode(DSG_DIRECTORY))
        in_source = set(names)
        if in_source != in_target:
            for name in sorted(in_source - in_target):
                self._context.differ(_join(path, name), "presence", _IN_SOURCE, "missing")
            for name in sorted(in_target - in_source):
                self._context.differ(_join(path, name), "presence", _NOT_IN_SOURCE, "extra")
            return sorted(in_source & in_target)
        names.sort()  # a file system often has them in order; a set never has
        return names

    def _compare_names(self, place: Place, names: list[str]) -> list[Place]:
        """Compare the entries `names` of a directory; return the directories in it."""
        batch = self._batches.read(place, names)
        self._context.checkpoint()
        self._count_proven_files(batch.file_count)
        others = batch.others()
        if not others:
            return []
        files: list[_File] = []
        directories: list[Place] = []
        source, target = self._source.open(place.path), self._target.open(place.path)
        for index in others:
            pair = Pair(_join(place.path, names[index]), names[index], source, target)
            found = self._compare_name(batch, index, pair)
            if isinstance(found, _File):
                files.append(found)
            elif found is not None:
                directories.append(Place(found.path, batch.inode(index)))
        if self._contents.put(self._to_read(files)):
            self._compare_contents()
        return directories

    def _count_proven_files(self, count: int) -> None:
        """Count listed files of which nothing is left to compare."""
        self._result.entries += count
        self._result.files += count
        self._result.files_proven += 0 if self._reading.none else count
        self._count_hashes(count)

    def _compare_name(self, batch: Batch, index: int, pair: Pair) -> _File | Pair | None:
        """Compare one name; return a file to read, a directory to enter, or None."""
        slot = batch.slot(index)
        if batch.is_proven_directory(index):
            self._result.entries += 1
            slot.prove(Kind.DIRECTORY)
            return pair
        here, there = batch.source(index), batch.target(index)
        if here is None or there is None:
            of_both = (_NOT_IN_SOURCE if here is None else _IN_SOURCE), _presence(there)
            self._context.differ(pair.path, "presence", *of_both)
            return None
        if self._source.is_nested_subvolume(here):
            self._compare_nested_subvolume(pair.path, there)
            return None
        listed = batch.listed(index)
        if listed and slot.is_proven and is_same_file(here, there, self._capabilities):
            self._listing.tick_off(listed[0])
            self._count_proven_files(1)
            self._note_loss(self._capabilities.mtime_loss(here.st_mtime_ns), pair.path)
            self._result.add(self._link_groups.compare(pair.path, here, there))
            slot.prove(kind_of_file(here, there, listed[1], self._capabilities))
            return None
        return self._compare_status(pair, here, there, slot)

    def _compare_nested_subvolume(self, path: str, target: os.stat_result) -> None:
        self._result.entries += 1
        self._result.nested_subvolumes.append(path)
        if not stat.S_ISDIR(target.st_mode):
            self._context.differ(path, "type", "empty directory", type_of(target))
            return
        for name in self._target.names(path):
            expected = "below a nested subvolume, which is not migrated"
            self._context.differ(_join(path, name), "presence", expected, "extra")

    def _compare_status(
        self, pair: Pair, source: os.stat_result, target: os.stat_result, slot: Slot
    ) -> _File | Pair | None:
        """Compare all but contents; return a file to read, a directory to enter, or None."""
        self._context.checkpoint()
        self._result.entries += 1
        differences = compare_status(pair.path, source, target, self._capabilities)
        self._result.add(differences)
        loss = self._capabilities.mtime_loss(source.st_mtime_ns)
        self._note_loss(loss, pair.path)
        if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
            return None
        if not slot.is_proven:
            compare_xattrs(self._context, self._capabilities, self._source, self._target, pair)
        if stat.S_ISREG(source.st_mode):
            self._result.add(self._link_groups.compare(pair.path, source, target))
            return _File(pair, source, target, slot)
        if stat.S_ISDIR(source.st_mode):
            is_plain = not differences and loss is None and not may_be_stub(source)
            slot.prove(Kind.DIRECTORY if is_plain else Kind.OTHER)
            return pair
        if stat.S_ISLNK(source.st_mode):
            self._compare_links(pair)
        else:
            self._result.add_unlisted(pair.path)
        slot.prove(Kind.OTHER)
        return None

    def _compare_links(self, pair: Pair) -> None:
        source = self._source.reference(pair.path, pair.name, pair.source)
        target = self._target.reference(pair.path, pair.name, pair.target)
        if source != target:
            self._context.differ(pair.path, "link target", printable(source), printable(target))
        compare_link_entry(self._context, pair.path, source)

    def _note_loss(self, loss: Loss | None, path: str) -> None:
        if loss is not None:
            self._result.add_loss(loss, path)

    def _to_read(self, files: list[_File]) -> list[ToRead]:
        """Tick off the entries of files; return the files that have to be read."""
        to_read = []
        for file in files:
            self._result.files += 1
            is_proven = file.slot.is_proven
            entry = take_entry(self._context, file.pair.path, is_proven=is_proven)
            self._count_hashes(entry is not None)
            if is_proven:
                self._result.files_proven += not self._reading.none
                file.slot.prove(Kind.OTHER)
            elif self._reading.none:
                if self._agrees_unread(file, entry):
                    file.slot.prove(
                        kind_of_file(file.source, file.target, entry, self._capabilities)
                    )
            elif file.source.st_size == file.target.st_size:
                to_read.append(ToRead(file.pair, file.source, file.target, entry, file.slot))
        return to_read

    def _count_hashes(self, count: int) -> None:
        if self._result.level == "structure":
            self._result.hashes_unchecked += count

    def _agrees_unread(self, file: _File, entry: bytes | None) -> bool:
        """Compare what can be compared of an entry at a level that reads no contents."""
        if self._result.level != "structure":
            return True  # an earlier run compared it
        return compare_file_entry(self._context, file.pair.path, file.target, None, entry)

    def _compare_contents(self) -> None:
        for file, (source, source_bytes), (target, target_bytes) in self._contents.read_waiting():
            self._context.checkpoint()
            self._result.files_read += 1
            self._result.source_bytes_read += source_bytes
            self._result.target_bytes_read += target_bytes
            path = file.pair.path
            if source != target:
                self._context.differ(path, "content", source, target)
            elif compare_file_entry(self._context, path, file.target, target, file.entry):
                file.slot.prove(
                    kind_of_file(file.source, file.target, file.entry, self._capabilities)
                )


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _presence(status: os.stat_result | None) -> str:
    return "missing" if status is None else "extra"
