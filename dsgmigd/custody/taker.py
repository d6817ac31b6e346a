"""Takes the evidence of the snapshots of one repository, one after the other.

Guarantees: what did not change since the snapshot before is not read again; a statement is on disk
before anybody hears of its root hash.

Raises: SigningFailed, the errors of `host.file_errors` for what is read, OSError for what is
written, and whatever the checkpoint raises.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dsgmigd import __version__
from dsgmigd.custody.changes import Before, all_edits, some_edits
from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Sign, Store
from dsgmigd.custody.table import Edit, Table
from dsgmigd.custody.tree import Tree
from dsgmigd.errors import EvidenceDamaged
from dsgmigd.exclusion import DSG_DIRECTORY
from dsgmigd.host.file_errors import target_errors

_NANOSECONDS = 1_000_000_000
# Nobody reports what changes in them, because dsgmigd itself writes there.
_OWN = (DSG_DIRECTORY, DSG_DIRECTORY + b"/archive")


@dataclass(frozen=True)
class Subject:
    """Which snapshot a statement is about, and how it was verified: see `Statement`."""

    snapshot: str
    guid: str
    snapshot_hash: str
    level: str
    verified_at: str


@dataclass(frozen=True)
class Look:
    """What to look at: `paths` and `directories`, or everything without `paths`.

    `known` has the SHA-256 of files that were read just now. `moment` is not later than the
    creation of the snapshot, in seconds since the epoch.
    """

    moment: float
    known: Mapping[bytes, str]
    paths: Iterable[bytes] | None = None
    directories: Iterable[bytes] = ()


class Taker:
    """Takes the evidence for one request; `warn` hears of kept evidence that cannot be used."""

    def __init__(
        self,
        store: Store,
        *,
        repo: str,
        dataset: str,
        request_id: str,
        sign: Sign | None = None,
        warn: Callable[[str], object] = lambda _: None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._repo = repo
        self._dataset = dataset
        self._request_id = request_id
        self._sign = sign
        self._warn = warn
        self._checkpoint = checkpoint
        self._before: Before | None = None
        self._base: Statement | None = None
        self._taken: tuple[Table, list[Edit], float] = Table(), [], 0.0

    def check(self) -> None:
        """Raise SigningFailed if statements are to be signed and cannot be."""
        if self._sign is not None:
            self._sign(b"")

    def go_on_after(self, guid: str, moment: float) -> Statement | None:
        """Load the evidence of a snapshot, for that of the next one; return its statement, if any.

        `moment` is not later than the creation of the snapshot, in seconds since the epoch.
        """
        self._before = self._base = None
        try:
            statement = self._store.of_snapshot(guid)
            if statement is not None:
                self._go_on(statement, self._store.load(statement), moment)
        except EvidenceDamaged as error:
            self._warn(f"{error.message}; the evidence of the next snapshot begins anew")
        return self._base

    def take(self, view: str, look: Look) -> None:
        """Read what changed in the snapshot that is mounted at `view`; `state` writes it down."""
        before = self._before or Before()
        with (
            target_errors(f"taking the evidence of {self._dataset}"),
            Tree(view, known=look.known, checkpoint=self._checkpoint) as tree,
        ):
            if self._before is None:
                table, edits = before.table.changed(all_edits(before, tree)), []
            elif look.paths is None:
                edits = list(all_edits(before, tree))
                table = before.table.changed(edits)
            else:
                directories = {*look.directories, *_OWN}
                edits = some_edits(before, tree, {*look.paths, b"", *_OWN}, directories)
                table = before.table.changed(edits)
        self._taken = table, edits, look.moment

    def state(self, subject: Subject) -> Statement:
        """Keep what `take` found, as a statement about that snapshot; return it."""
        table, edits, moment = self._taken
        statement = Statement(
            repo=self._repo,
            dataset=self._dataset,
            snapshot=subject.snapshot,
            snapshot_guid=subject.guid,
            snapshot_hash=subject.snapshot_hash,
            root=table.root(),
            entries=len(table),
            files=table.files,
            size_bytes=table.size,
            level=subject.level,
            verified_at=subject.verified_at,
            request_id=self._request_id,
            host=platform.node(),
            version=__version__,
            base=self._base.stem if self._base else None,
        )
        written = self._store.write(statement, table, edits, self._sign)
        self._go_on(written, table, moment)
        return written

    def _go_on(self, statement: Statement, table: Table, moment: float) -> None:
        self._base, self._before = statement, Before(table, int(moment * _NANOSECONDS))
