"""Walk a source snapshot and a target snapshot side by side, and report every difference.

Names must agree in both directions; type, mode, owner, mtime, size, link target, device, hard-link
groups and extended attributes must agree at the target's ability. Contents are read and hashed on
both sides, except of files that are proven by the snapshot before (proof.py) when the level allows
it. The target is a view of the ZFS snapshot, never the live staging directory.

Leaving errors: SourceUnreadable, TargetUnwritable, whatever the checkpoint raises. Differences are
data, not errors.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from dsgmigd.abilities import Abilities
from dsgmigd.dsg.entry import is_listed_link, is_listed_name
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.file_errors import source_error, target_error
from dsgmigd.hashing import hash_file
from dsgmigd.request import VerifyLevel
from dsgmigd.verify.compare import Discrepancy, compare_status, printable
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.metadata import Documents, ManifestView, manifest_time
from dsgmigd.verify.proof import Moments, Proofs

_NANOSECONDS = 1_000_000_000
_LARGE_BYTES = 1024 * 1024
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME


@dataclass(frozen=True, slots=True)
class Pair:
    """One path on both sides: descriptors of the directories that hold it."""

    path: str
    name: str
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file on both sides, all but its content compared."""

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    entry_hash: int
    is_proven: bool


class Verifier:
    """Checks the snapshots of one repository in their order, remembering what is proven."""

    def __init__(
        self,
        *,
        level: VerifyLevel,
        abilities: Abilities,
        hash_threads: int = 2,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._level = level
        self._abilities = abilities
        self._hash_threads = hash_threads
        self._checkpoint = checkpoint
        self._proofs = Proofs()
        self._documents = Documents()

    def verify(
        self,
        source_root: str,
        target_root: str,
        number: int,
        moments: Moments,
        *,
        is_verified_before: bool = False,
    ) -> Verification:
        """Compare snapshot s`number` on both sides.

        With `is_verified_before` no contents are read: the snapshot carries the mark of an earlier
        run, and this walk only renews what later proofs build on.
        """
        self._proofs.begin_snapshot()
        view = self._documents.read(target_root, number)
        walk = _Walk(
            result=Verification(self._level),
            view=view,
            proofs=self._proofs,
            moments=moments,
            abilities=self._abilities,
            reads_all=self._level == "exhaustive",
            reads_none=self._level == "structure" or is_verified_before,
            checkpoint=self._checkpoint,
        )
        pool = ThreadPoolExecutor(self._hash_threads, thread_name_prefix="hash")
        try:
            walk.run(source_root, target_root, pool)
        finally:
            pool.shutdown(cancel_futures=True)
        return walk.result


class _Walk:
    """One walk; its state dies with it."""

    def __init__(
        self,
        *,
        result: Verification,
        view: ManifestView,
        proofs: Proofs,
        moments: Moments,
        abilities: Abilities,
        reads_all: bool,
        reads_none: bool,
        checkpoint: Callable[[], None],
    ) -> None:
        self.result = result
        self._view = view
        self._proofs = proofs
        self._moments = moments
        self._abilities = abilities
        self._reads_all = reads_all
        self._reads_none = reads_none
        self._checkpoint = checkpoint
        self._target_of: dict[int, int] = {}
        self._source_of: dict[int, int] = {}

    def run(self, source_root: str, target_root: str, pool: ThreadPoolExecutor) -> None:
        """Compare the two trees below the roots."""
        self.result.add(self._view.discrepancies)
        with (
            _opened(source_root, None, source_error) as source,
            _opened(target_root, None, target_error) as target,
        ):
            root = Pair(".", ".", source, target)
            self._compare_status(root, os.fstat(source), os.fstat(target))
            self._compare_directory("", source, target, pool)
        for path in self._view.listing.untaken():
            self._differ(path, "manifest", "not there", "listed")

    def _compare_directory(
        self, path: str, source: int, target: int, pool: ThreadPoolExecutor
    ) -> None:
        files: list[_File] = []
        directories: list[Pair] = []
        prefix = f"{path}/" if path else ""
        names = self._common_names(prefix, source, target)
        # All of one side, then all of the other: the target may be another process, and turning to
        # it for every single name costs more than the answer.
        of_target = _statuses(names, target, prefix, target_error)
        of_source = _statuses(names, source, prefix, source_error)
        for name, here, there in zip(names, of_source, of_target, strict=True):
            pair = Pair(prefix + name, name, source, target)
            found = self._compare_status(pair, here, there)
            if isinstance(found, _File):
                files.append(found)
            elif found is not None:
                directories.append(found)
        self._compare_contents(files, pool)
        for pair in directories:
            with (
                _opened(pair.name, source, source_error) as below,
                _opened(pair.name, target, target_error) as beside,
            ):
                self._compare_directory(pair.path, below, beside, pool)

    def _common_names(self, prefix: str, source: int, target: int) -> list[str]:
        in_source = set(_listed(source, prefix, source_error))
        in_target = set(_listed(target, prefix, target_error))
        if not prefix:
            in_source = {name for name in in_source if not is_excluded_name(os.fsencode(name))}
            in_target.discard(os.fsdecode(DSG_DIRECTORY))
        for name in sorted(in_source - in_target):
            self._differ(prefix + name, "presence", "there", "missing")
        for name in sorted(in_target - in_source):
            self._differ(prefix + name, "presence", "not there", "extra")
        return sorted(in_source & in_target)

    def _compare_status(
        self, pair: Pair, source: os.stat_result, target: os.stat_result
    ) -> _File | Pair | None:
        """Compare all but contents; return a file to read, a directory to enter, or None."""
        self._checkpoint()
        self.result.entries += 1
        found = compare_status(pair.path, source, target, self._abilities)
        self.result.add(found)
        if not self._abilities.subsecond_mtime and source.st_mtime_ns % _NANOSECONDS:
            self.result.add_loss("subsecond_mtime", pair.path)
        if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
            return None
        is_directory = stat.S_ISDIR(source.st_mode)
        entry_hash = 0 if is_directory else self._view.listing.hash_of(pair.path)
        is_proven = not self._reads_all and self._proofs.holds(
            source, target, entry_hash, self._moments
        )
        if not is_proven:
            self._compare_xattrs(pair)
        if stat.S_ISREG(source.st_mode):
            self._compare_link_groups(pair, source, target)
            return _File(pair, source, target, entry_hash, is_proven)
        if stat.S_ISLNK(source.st_mode):
            self._compare_links(pair)
        if not is_proven:
            self._proofs.add(source, target, entry_hash)
        return pair if is_directory else None

    def _compare_links(self, pair: Pair) -> None:
        source = os.readlink(pair.name, dir_fd=pair.source)
        target = os.readlink(pair.name, dir_fd=pair.target)
        if source != target:
            self._differ(pair.path, "link target", printable(source), printable(target))
        entry = self._entry(pair, source)
        if entry is not None and json.loads(entry).get("reference") != source:
            self._differ(pair.path, "manifest reference", source, entry.decode())

    def _compare_link_groups(
        self, pair: Pair, source: os.stat_result, target: os.stat_result
    ) -> None:
        if source.st_nlink > 1:
            self._check_group(self._target_of, source.st_ino, target.st_ino, pair)
        if target.st_nlink > 1:
            self._check_group(self._source_of, target.st_ino, source.st_ino, pair)

    def _check_group(self, known: dict[int, int], one: int, other: int, pair: Pair) -> None:
        if known.setdefault(one, other) != other:
            self._differ(pair.path, "hard links", "another group", "this group")

    def _compare_xattrs(self, pair: Pair) -> None:
        source = _xattrs(pair, pair.source, source_error)
        if not self._abilities.xattrs:
            if source:
                self.result.add_loss("xattr", pair.path)
            return
        target = _xattrs(pair, pair.target, target_error)
        for name in sorted(source.keys() | target.keys()):
            if source.get(name) != target.get(name):
                self._differ(pair.path, f"xattr {name}", source.get(name), target.get(name))

    def _compare_contents(self, files: list[_File], pool: ThreadPoolExecutor) -> None:
        to_read = []
        for file in files:
            self.result.files += 1
            entry = self._entry(file.pair)
            if self._reads_none or file.is_proven:
                self._prove(file)
                self.result.files_proven += not self._reads_none
            elif file.source.st_size == file.target.st_size:
                to_read.append((file, entry, _begin_reading(file, pool)))
        for file, entry, finish_reading in to_read:
            self._checkpoint()
            (source_digest, source_bytes), (target_digest, target_bytes) = finish_reading()
            self.result.files_read += 1
            self.result.source_bytes_read += source_bytes
            self.result.target_bytes_read += target_bytes
            if source_digest != target_digest:
                self._differ(file.pair.path, "content", source_digest, target_digest)
            elif self._agrees(file.pair, file.target, target_digest, entry):
                self._prove(file)

    def _prove(self, file: _File) -> None:
        if not file.is_proven:
            self._proofs.add(file.source, file.target, file.entry_hash)

    def _agrees(self, pair: Pair, target: os.stat_result, digest: str, entry: bytes | None) -> bool:
        """Compare a file's entry in the manifest, if it has one, with the file itself."""
        if entry is None:
            return True
        expected = ("file", target.st_size, manifest_time(target.st_mtime), digest)
        said = json.loads(entry)
        found = tuple(said.get(key) for key in ("type", "filesize", "mtime", "hash"))
        if found != expected:
            self._differ(pair.path, "manifest entry", expected, found)
        return found == expected

    def _entry(self, pair: Pair, reference: str | None = None) -> bytes | None:
        entry = self._view.listing.take(pair.path)
        if entry is None and _is_listed(os.fsencode(pair.path), reference):
            self._differ(pair.path, "manifest", "there", "not listed")
        return entry

    def _differ(self, path: str, attribute: str, source: object, target: object) -> None:
        self.result.add([Discrepancy(printable(path), attribute, str(source), str(target))])


def _is_listed(path: bytes, reference: str | None) -> bool:
    """Say whether a manifest lists the file at `path`, or the link to `reference`."""
    if not all(is_listed_name(name) for name in path.split(b"/")):
        return False
    return reference is None or is_listed_link(path, os.fsencode(reference))


Translate = Callable[[OSError, str], Exception]
_Read = tuple[str, int]


@contextmanager
def _opened(name: str, directory: int | None, translate: Translate) -> Iterator[int]:
    try:
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    except OSError as error:
        raise translate(error, f"opening {printable(name)!r}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _listed(descriptor: int, path: str, translate: Translate) -> list[str]:
    try:
        return os.listdir(descriptor)
    except OSError as error:
        raise translate(error, f"listing {printable(path)!r}") from error


def _statuses(
    names: list[str], directory: int, prefix: str, translate: Translate
) -> list[os.stat_result]:
    try:
        return [os.lstat(name, dir_fd=directory) for name in names]
    except OSError as error:
        raise translate(error, f"reading names in {printable(prefix)!r}") from error


def _xattrs(pair: Pair, directory: int, translate: Translate) -> dict[str, bytes]:
    through = f"/proc/self/fd/{directory}/{pair.name}"
    try:
        names = os.listxattr(through, follow_symlinks=False)
        return {name: os.getxattr(through, name, follow_symlinks=False) for name in names}
    except OSError as error:
        raise translate(error, f"reading attributes of {printable(pair.path)!r}") from error


def _begin_reading(file: _File, pool: ThreadPoolExecutor) -> Callable[[], tuple[_Read, _Read]]:
    """Begin to read both sides of a file, a large one at once; the answer gives what was read."""
    sides = ((file.pair.source, source_error), (file.pair.target, target_error))
    if file.source.st_size < _LARGE_BYTES:
        return pool.submit(_digest_both, file.pair).result
    first, second = (pool.submit(_digest, file.pair, *side) for side in sides)
    return lambda: (first.result(), second.result())


def _digest_both(pair: Pair) -> tuple[_Read, _Read]:
    return _digest(pair, pair.source, source_error), _digest(pair, pair.target, target_error)


def _digest(pair: Pair, directory: int, translate: Translate) -> _Read:
    try:
        return hash_file(directory, os.fsencode(pair.name))
    except OSError as error:
        raise translate(error, f"reading {printable(pair.path)!r}") from error
