"""The progress of the work: written by the working thread, read by the reporting one."""

from dataclasses import asdict, dataclass, field
from typing import Any

from dsgmigd.errors import InterruptedByStop, RequestCancelled


@dataclass
class Progress:
    """One piece of work; single attributes are replaced as a whole, so no lock is needed.

    `steps_done` moves whenever anything at all was done: it tells work from a hang.
    """

    repo: str | None = None
    request_id: str | None = None
    snapshot: str | None = None
    step: str | None = None
    snapshots_done: int = 0
    snapshots_wanted: int = 0
    bytes_written: int = 0
    steps_done: int = field(default=0, compare=False)
    stop_requested: bool = field(default=False, repr=False)
    cancel_requested: bool = field(default=False, repr=False)

    def checkpoint(self) -> None:
        """Count a piece of work; raise RequestCancelled or InterruptedByStop if it must end."""
        self.steps_done += 1
        if self.cancel_requested:
            raise RequestCancelled
        if self.stop_requested:
            raise InterruptedByStop

    def enter(self, step: str, snapshot: object = None) -> None:
        """Record which step begins, and for which snapshot."""
        self.step = step
        if snapshot is not None:
            self.snapshot = str(snapshot)
        self.checkpoint()

    def to_json(self) -> dict[str, Any]:
        """Return what a status display shows."""
        document = asdict(self)
        del document["stop_requested"], document["cancel_requested"], document["steps_done"]
        return document

    def __str__(self) -> str:
        if self.repo is None:
            return "idle"
        count = f"{self.snapshots_done}/{self.snapshots_wanted}"
        megabytes = self.bytes_written / 1e6
        return (
            f"{self.repo} {self.snapshot or '-'} {self.step or '-'} ({count}, {megabytes:.1f} MB)"
        )
