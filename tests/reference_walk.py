"""The walk that looks at every entry by itself: the judge of the one that looks at batches.

It is slow and simple. It keeps its own proofs, by the rule in `dsgmigd.verification.proof`, and
must come to the same results, in the same order.
"""

import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.request import Loss
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification import kept_proofs, verifier
from dsgmigd.verification.compare import compare_status, is_same_file, printable, type_of
from dsgmigd.verification.contents import Contents, Pair, ToRead
from dsgmigd.verification.entries import compare_file_entry, compare_link_entry, take_entry
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.link_groups import LinkGroups
from dsgmigd.verification.metadata.listing import hash_entry
from dsgmigd.verification.proof import Proofs
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk import Reading
from dsgmigd.verification.walk_context import WalkContext
from dsgmigd.verification.walk_proofs import BatchFacts, BatchProofs, Slot
from dsgmigd.verification.xattrs import compare_xattrs

NAMES_AT_ONCE = 1000
_IN_SOURCE = "present in the source"
_NOT_IN_SOURCE = "not in the source"


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file on both sides, in which everything but the content was compared."""

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    entry_hash: int
    is_proven: bool


# `Contents` only hands it back.
_NO_SLOT = Slot(BatchProofs(BatchFacts(b"", b"", (0, 0), None, array("I"))), 0, is_proven=False)


@contextmanager
def reference_verifier() -> Iterator[None]:
    """Let every Verifier that is made and used in the block walk in this way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifier, "Walk", ReferenceWalk)
        patch.setattr(verifier, "WalkProofs", Proofs)
        yield


class Referee:
    """Verifies a series twice, with batches and in this way, and holds the results together."""

    def __init__(self, **options: Any) -> None:
        self._judged = verifier.Verifier(**options)
        with reference_verifier():
            self._judge = verifier.Verifier(**options)

    def verify(self, *arguments: Any, **options: Any) -> Verification:
        """Verify one snapshot as `Verifier.verify` does; AssertionError if the results differ."""
        found = self._judged.verify(*arguments, **options)
        with reference_verifier():
            expected = self._judge.verify(*arguments, **options)
        assert found.to_json() == expected.to_json()
        assert found.nested_subvolumes == expected.nested_subvolumes
        return found

    def keep_proofs(self, path: str) -> None:
        """Let the walk with batches go on with its proofs as a file returns them."""
        pair, file = (
            kept_proofs.Pair("source", 1, "target"),
            kept_proofs.ProofFile(path),
        )
        file.write(pair, self._judged.proven(Verification("complete"), 0.0))
        kept = file.read(pair)
        assert kept is not None
        self._judged._proofs = kept.proofs


class ReferenceWalk:
    """Compares one pair of snapshots; make a new one for the next pair."""

    def __init__(
        self,
        source: Side,
        target: Side,
        context: WalkContext,
        *,
        proofs: Proofs,
        capabilities: Capabilities,
        reading: Reading,
    ) -> None:
        self._source = source
        self._target = target
        self._context = context
        self._result = context.result
        self._proofs = proofs
        self._listing = context.view.listing
        self._capabilities = capabilities
        self._reading = reading
        self._contents = Contents(source, target, reading.pool)
        self._link_groups = LinkGroups({})

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
        waiting = [""]
        while waiting:
            path = waiting.pop()
            names = self._common_names(path)
            below: list[str] = []
            for start in range(0, len(names), NAMES_AT_ONCE):
                below += self._compare_names(path, names[start : start + NAMES_AT_ONCE])
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
            self._compare_names(path, sorted(names.get(path, ())))
        self._compare_contents()

    def _compare_root(self) -> None:
        root = Pair(".", ".", self._source.open(""), self._target.open(""))
        self._compare_status(root, self._source.root_status, self._target.root_status)

    def _common_names(self, path: str) -> list[str]:
        """Report the names that only one side has in the directory `path`; return the others."""
        in_source, in_target = set(self._source.names(path)), set(self._target.names(path))
        if not path:
            in_source = {name for name in in_source if not is_excluded_name(os.fsencode(name))}
            in_target.discard(os.fsdecode(DSG_DIRECTORY))
        for name in sorted(in_source - in_target):
            self._context.differ(_join(path, name), "presence", _IN_SOURCE, "missing")
        for name in sorted(in_target - in_source):
            self._context.differ(_join(path, name), "presence", _NOT_IN_SOURCE, "extra")
        return sorted(in_source & in_target)

    def _compare_names(self, path: str, names: list[str]) -> list[str]:
        """Compare the entries `names` of the directory `path`; return the directories in it."""
        # First all of one side, then all of the other: the target's file system may be another
        # process, and switching to it for each name takes longer than its answer.
        of_target = self._target.statuses(path, names)
        of_source = self._source.statuses(path, names)
        source, target = self._source.open(path), self._target.open(path)
        files: list[_File] = []
        directories: list[str] = []
        self._context.checkpoint()
        for name, here, there in zip(names, of_source, of_target, strict=True):
            whole = _join(path, name)
            if here is None or there is None:
                of_both = (_NOT_IN_SOURCE if here is None else _IN_SOURCE), _presence(there)
                self._context.differ(whole, "presence", *of_both)
            elif self._source.is_nested_subvolume(here):
                self._compare_nested_subvolume(whole, there)
            elif not self._tick_off_if_proven(whole, here, there):
                found = self._compare_status(Pair(whole, name, source, target), here, there)
                if isinstance(found, _File):
                    files.append(found)
                elif found is not None:
                    directories.append(found.path)
        if self._contents.put(self._to_read(files)):
            self._compare_contents()
        return directories

    def _tick_off_if_proven(
        self, path: str, source: os.stat_result, target: os.stat_result
    ) -> bool:
        """Count a listed file that is proven; False if it has to be compared."""
        if self._reading.all or not is_same_file(source, target, self._capabilities):
            return False
        listed = self._listing.find(path)
        if listed is None:
            return False
        number, entry = listed
        if not self._proofs.renew(source, target, hash_entry(entry), self._context.moments):
            return False
        self._listing.tick_off(number)
        self._count_hash(entry)
        self._result.entries += 1
        self._result.files += 1
        self._result.files_proven += not self._reading.none
        self._note_loss(self._capabilities.mtime_loss(source.st_mtime_ns), path)
        self._result.add(self._link_groups.compare(path, source, target))
        return True

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
        self, pair: Pair, source: os.stat_result, target: os.stat_result
    ) -> _File | Pair | None:
        """Compare all but contents; return a file to read, a directory to enter, or None."""
        self._context.checkpoint()
        self._result.entries += 1
        self._result.add(compare_status(pair.path, source, target, self._capabilities))
        self._note_loss(self._capabilities.mtime_loss(source.st_mtime_ns), pair.path)
        if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
            return None
        is_directory = stat.S_ISDIR(source.st_mode)
        entry_hash = 0 if is_directory else self._listing.hash_of(pair.path)
        is_proven = not self._reading.all and self._proofs.renew(
            source, target, entry_hash, self._context.moments
        )
        if not is_proven:
            compare_xattrs(self._context, self._capabilities, self._source, self._target, pair)
        if stat.S_ISREG(source.st_mode):
            self._result.add(self._link_groups.compare(pair.path, source, target))
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
            entry = take_entry(self._context, file.pair.path, is_proven=file.is_proven)
            self._count_hash(entry)
            if file.is_proven:
                self._result.files_proven += not self._reading.none
            elif self._reading.none:
                if self._agrees_unread(file, entry):
                    self._proofs.add(file.source, file.target, file.entry_hash)
            elif file.source.st_size == file.target.st_size:
                to_read.append(ToRead(file.pair, file.source, file.target, entry, _NO_SLOT))
        return to_read

    def _count_hash(self, entry: bytes | None) -> None:
        if entry is not None and self._result.level == "structure":
            self._result.hashes_unchecked += 1

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
                self._proofs.add(file.source, file.target, self._listing.hash_of(path))


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _presence(status: os.stat_result | None) -> str:
    return "missing" if status is None else "extra"
