"""Writes a bag of one snapshot: its files and its evidence (see `bag_layout`).

Each file is read once: it is copied, hashed and compared with its entry, and so is everything else
that the evidence says of each path. The bag is written under a hidden name, `.SV-sK.….partial`, and
renamed when everything is on disk. Nothing that exists is overwritten. Holes stay holes, files that
have several names have them in the bag, and everything is readable by everybody: who may read what
is said by the entries, and by the directory above.

Raises: EvidenceDiffers, BagRefused, those of `host.file_errors.target_error`, and whatever the
checkpoint raises; then no bag is left.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dsgmigd.custody.bag_layout import (
    BAGIT,
    DECLARATION,
    ENTRIES,
    INFO,
    MANIFEST,
    NAMES,
    PAYLOAD,
    SIGNATURE,
    STATEMENT,
    SUMS,
    TAG_MANIFEST,
    bag_info,
    bag_name,
)
from dsgmigd.custody.bag_names import manifest_line, name_in_bag, names_line, sums_line
from dsgmigd.custody.comparison import Finding, Pair, compare_pair, pairs, shown
from dsgmigd.custody.copying import copy_content
from dsgmigd.custody.entry import parse_line
from dsgmigd.custody.statement import Statement
from dsgmigd.custody.table import Table
from dsgmigd.custody.tree import Tree
from dsgmigd.errors import BagRefused, EvidenceDiffers
from dsgmigd.host.directories import Directories
from dsgmigd.host.durable import sync_directory
from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.regular import open_regular
from dsgmigd.host.terminal import printable

_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A file has too many names, or the file system of the bag has no hard links.
_NO_LINK = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})


@dataclass(frozen=True)
class Evidence:
    """What is known of a snapshot."""

    statement: Statement
    table: Table
    signature: bytes | None


@dataclass(frozen=True)
class Maker:
    """Who makes a bag and when: a date as YYYY-MM-DD, and the version of dsgmigd."""

    at: str
    version: str


def check_free(statement: Statement, directory: str) -> str:
    """Return the path of the bag of a snapshot in `directory`; BagRefused if it exists."""
    path = os.path.join(directory, bag_name(statement))
    with _bag_errors(path):
        os.stat(directory)
    if os.path.lexists(path):
        raise BagRefused(f"{path} exists", hint="move it away, or choose another directory")
    return path


def write_bag(
    root: str,
    evidence: Evidence,
    directory: str,
    maker: Maker,
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> str:
    """Write the bag of the snapshot that can be read at `root` into `directory`; return its path.

    `checkpoint` is called for every path and every piece of a file.
    """
    path = check_free(evidence.statement, directory)
    name = os.path.basename(path)
    with _bag_errors(path):
        partial = tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=directory)
        try:
            with _Writer(root, partial, checkpoint) as writer:
                writer.write(evidence, maker)
            os.sync()  # a sync of each of millions of files would take hours
            os.rename(partial, path)  # which fails if there is anything but an empty directory
            sync_directory(directory)
        except BaseException:
            with contextlib.suppress(RecursionError):  # a tree of a thousand levels
                shutil.rmtree(partial, ignore_errors=True)
            raise
    return path


@contextlib.contextmanager
def _bag_errors(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise BagRefused(
            f"{path} cannot be written: two names are one there: {printable(str(error.filename))}",
            hint="choose a directory on a file system that tells case and normalization apart",
        ) from error
    except OSError as error:
        raise BagRefused(
            f"{path} cannot be written: {error.strerror}",
            hint="choose a directory that exists, with room for all files of the snapshot",
        ) from error


class _Writer:
    def __init__(self, root: str, partial: str, checkpoint: Callable[[], None]) -> None:
        self._partial = partial
        self._checkpoint = checkpoint
        self._known: dict[bytes, str] = {}
        self._opened = contextlib.ExitStack()
        with target_errors("opening the snapshot"):
            self._tree = self._opened.enter_context(
                Tree(root, known=self._known, checkpoint=checkpoint)
            )
            self._source = self._opened.enter_context(Directories(root))
        self._bag = self._opened.enter_context(Directories(partial))
        self._linked: dict[int, tuple[bytes, str]] = {}
        self._tags: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    def write(self, evidence: Evidence, maker: Maker) -> None:
        statement = evidence.statement
        self._make_directory(PAYLOAD.encode())
        self._write_payload(evidence.table)
        self._write_tag(ENTRIES, evidence.table.lines())
        if self._tags[ENTRIES] != statement.root:
            raise EvidenceDiffers(
                f"the entries of {statement.stem} have another root hash than its statement",
                hint="no bag was left; restore the evidence from a backup of the spool",
            )
        info = bag_info(statement, at=maker.at, version=maker.version)
        self._write_tag(BAGIT, [DECLARATION])
        self._write_tag(INFO, [info])
        self._write_tag(STATEMENT, [statement.to_bytes()])
        if evidence.signature is not None:
            self._write_tag(SIGNATURE, [evidence.signature])
        tags = sorted(self._tags.items())
        self._write_tag(TAG_MANIFEST, [f"{sha256}  {name}\n".encode() for name, sha256 in tags])
        os.chmod(self._partial, _DIRECTORY_MODE)

    def _write_payload(self, table: Table) -> None:
        with self._tag(MANIFEST) as manifest, self._tag(SUMS) as sums, self._tag(NAMES) as names:
            found = self._walk()
            for pair in pairs(table.rows(), found):
                self._checkpoint()
                sha256 = self._copy(pair)
                if sha256 is not None:
                    manifest(manifest_line(sha256, pair.path))
                    sums(sums_line(sha256, pair.path))
                    names(names_line(pair.path))

    def _walk(self) -> Iterator[tuple[bytes, os.stat_result]]:
        walked = self._tree.walk()
        while True:
            with target_errors("listing the snapshot"):
                found = next(walked, None)
            if found is None:
                return
            yield found

    def _copy(self, pair: Pair) -> str | None:
        """Copy a file and compare everything of its path; return its hash if it is a file."""
        sha256 = None
        if pair.row is not None and pair.status is not None:
            entry = parse_line(pair.row.line)
            if entry.kind == "file" and stat.S_ISREG(pair.status.st_mode):
                sha256 = self._copy_file(pair.path, pair.status)
            elif entry.kind == "directory" and pair.path:
                self._make_directory(name_in_bag(pair.path))
        self._known.clear()
        if sha256 is not None:
            self._known[pair.path] = sha256
        with target_errors(f"reading {printable(shown(pair.path))}"):
            found = compare_pair(self._tree, pair)
        if found:
            raise _differs(found)
        return sha256

    def _copy_file(self, path: bytes, status: os.stat_result) -> str:
        name = name_in_bag(path)
        linked = self._linked.get(status.st_ino)
        if linked is not None and self._link(linked[0], name):
            return linked[1]
        with contextlib.ExitStack() as opened:
            with target_errors(f"opening {printable(shown(path))}"):
                parent, last = self._source.parent_of(path)
                source = open_regular(last, dir_fd=parent)
            opened.callback(os.close, source)
            parent, last = self._bag.parent_of(name)
            new = os.open(last, _NEW, _FILE_MODE, dir_fd=parent)
            opened.callback(os.close, new)
            os.fchmod(new, _FILE_MODE)
            sha256 = copy_content(source, new, shown(path), self._checkpoint)
            os.utime(new, ns=(status.st_mtime_ns, status.st_mtime_ns))
        if status.st_nlink > 1:
            self._linked[status.st_ino] = name, sha256
        return sha256

    def _link(self, first: bytes, name: bytes) -> bool:
        """Make `name` another name of the file `first` in the bag; say whether it could be."""
        parent, last = self._bag.parent_of(name)
        try:
            os.link(first, last, src_dir_fd=self._bag.root, dst_dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        return True

    def _make_directory(self, path: bytes) -> None:
        parent, last = self._bag.parent_of(path)
        os.mkdir(last, _DIRECTORY_MODE, dir_fd=parent)
        os.chmod(last, _DIRECTORY_MODE, dir_fd=parent)

    def _write_tag(self, name: str, content: Iterable[bytes]) -> None:
        with self._tag(name) as write:
            for piece in content:
                write(piece)

    @contextlib.contextmanager
    def _tag(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Give what writes to the tag file `name`; its hash is noted at the end."""
        digest = hashlib.sha256()
        with open(os.open(name, _NEW, _FILE_MODE, dir_fd=self._bag.root), "wb") as file:
            os.fchmod(file.fileno(), _FILE_MODE)

            def write(content: bytes) -> None:
                digest.update(content)
                file.write(content)

            yield write
        self._tags[name] = digest.hexdigest()


def _differs(found: list[Finding]) -> EvidenceDiffers:
    words = "; ".join(
        f"{one.attribute} is {one.found}, the evidence says {one.expected}" for one in found
    )
    return EvidenceDiffers(
        f"{printable(found[0].path)}: {printable(words)}",
        hint="no bag was left; check the pool: zpool status -v",
    )
