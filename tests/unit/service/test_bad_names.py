"""One name in the spool that fails, in every way, never stops the requests for others."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.migration.job import Settings
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.request import Request
from dsgmigd.service import worker as daemon
from dsgmigd.service.notify import Notifier
from dsgmigd.service.policy import Retries, WorkerSettings
from dsgmigd.service.worker import Worker
from dsgmigd.spool import claiming, withdrawal
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import withdraw_request

SETTINGS = Settings("/nowhere", DatasetName("no-such-pool"), "no-such-pool/.dsgmigd")
BAD, OTHERS = RepoName("BAD"), (RepoName("A"), RepoName("Z"))
LIMIT_SECONDS = 20
CALLS = ((os, "lstat"), (os, "stat"), (os, "open"), (os, "unlink"), (os, "rename"), (os, "link"))
RENAMES = ((claiming, "rename_noreplace"), (withdrawal, "rename_noreplace"))


class StopWhenOthersAreDone(Notifier):
    """Ends the worker when the other requests have their results, or it is too late."""

    def __init__(self, spool: Spool) -> None:
        super().__init__({})
        self.spool = spool
        self.due = time.monotonic() + LIMIT_SECONDS

    def status(self, text: str) -> None:  # noqa: ARG002 # the form of Notifier
        if time.monotonic() > self.due or all(map(self.spool.results.last, OTHERS)):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(daemon, "_RETRY_SECONDS", 0.01)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    spool = Spool(str(tmp_path), instance=3)
    spool.prepare()
    yield spool
    for number, handler in before.items():
        signal.signal(number, handler)


def break_name(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let every call fail that is given a path which ends in `name`."""

    def breaking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            paths = [one for one in arguments if isinstance(one, str)]
            if any(os.path.basename(path) == name for path in paths):
                raise OSError(number, os.strerror(number), paths[0])
            return real(*arguments, **options)

        return call

    for place, call in (*CALLS, *RENAMES):
        monkeypatch.setattr(place, call, breaking(getattr(place, call)))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EBUSY, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(
    "name", ["request", "claim.3", "claim.4", "result.json", "discrepancies.jsonl"]
)
def test_a_name_that_fails_stops_no_other_request(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    submit_request(spool, BAD, Request())
    withdraw_request(spool, BAD)  # its result must be shown beside the name that fails
    submit_request(spool, BAD, Request())
    if name.startswith("claim"):
        Path(spool.directory, f"BAD.{name}").touch()
    for other in OTHERS:
        submit_request(spool, other, Request())
    break_name(monkeypatch, f"BAD.{name}", number)

    settings = WorkerSettings(rescan_seconds=0.1, retries=Retries(for_seconds=0))
    Worker(3, spool, SETTINGS, settings, StopWhenOthersAreDone(spool)).run()

    assert [bool(spool.results.last(other)) for other in OTHERS] == [True, True]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EBUSY, errno.EIO])
def test_a_result_that_cannot_be_shown_is_kept_and_its_request_has_ended(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for repo in (BAD, *OTHERS):
        submit_request(spool, repo, Request())
    break_name(monkeypatch, "BAD.result.json", number)

    settings = WorkerSettings(rescan_seconds=0.1, retries=Retries(for_seconds=0))
    Worker(3, spool, SETTINGS, settings, StopWhenOthersAreDone(spool)).run()

    assert spool.results.last(BAD)
    assert spool.waiting() == []
    assert spool.records.claims() == []
    assert os.listdir(spool.layout.work) == []
