"""The results of runs in the foreground: they are kept like those of requests, and recorded.

Raises: SpoolFailing.
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dsgmigd.cli.acts import Act, recorded
from dsgmigd.errors import SpoolFailing
from dsgmigd.migration.result import Ending, Result
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.spool import Spool
from dsgmigd.verification.discrepancy_file import DiscrepancyFile


@dataclass(frozen=True)
class ForegroundRun:
    """A run that begins now, of which a result will tell; `repo` may be no valid name."""

    repo: str
    request: Request
    differences: DiscrepancyFile | None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: float = field(default_factory=time.time)

    def result_of(self, ending: Ending) -> dict[str, Any]:
        """Return the result of the run, which ended now; the file of differences is closed."""
        return Result(
            ending,
            request_id=self.request_id,
            repo=self.repo,
            request=self.request.to_json(),
            instance=0,
            started_at=self.started_at,
            finished_at=time.time(),
            warnings=self._close(),
        ).to_json()

    def _close(self) -> list[str]:
        """Close the file of differences; return a warning if they could not all be written."""
        if self.differences is None:
            return []
        self.differences.close()
        return [self.differences.problem] if self.differences.problem else []


@dataclass
class KeptRun:
    """A run in the foreground whose result is kept."""

    spool: Spool
    repo: RepoName
    request_id: str
    act: Act

    def keep(self, result: dict[str, Any]) -> None:
        """Keep the result of the run; a failure is a warning in it, and the act has no result."""
        self.act.outcome = result["outcome"]
        self.act.error = (result["error"] or {}).get("code")
        try:
            self.spool.results.keep_foreground(self.repo, self.request_id, result)
        except OSError as error:
            result["warnings"].append(f"this result could not be kept: {error.strerror}")
        self.act.result_path = self.spool.layout.kept_result(self.repo, self.request_id)


@contextlib.contextmanager
def kept_run(spool: Spool, act: str, repo: RepoName, request_id: str) -> Iterator[KeptRun]:
    """Record a run in the foreground and keep its result; the caller holds the repository's lock.

    Without the space for the result the block does not begin.
    """
    try:
        try:
            spool.results.reserve_foreground(repo)
        except OSError as error:
            raise SpoolFailing(
                f"{act} was not begun, because the spool has no room for its result: "
                f"{error.strerror}",
                hint="nothing was changed; check the spool's disk: df, mount, dmesg",
            ) from error
        with recorded(spool, act, repo, request_id=request_id) as one:
            yield KeptRun(spool, repo, request_id, one)
    finally:
        spool.results.release_foreground(repo)
