"""run: what the command gives to its worker, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.cli import run as run_module
from dsgmigd.migration.job import Settings
from dsgmigd.service.notify import Notifier
from dsgmigd.service.policy import WorkerSettings
from dsgmigd.spool.spool import Spool
from dsgmigd.target import native
from dsgmigd.target.native import Native
from tests.unit.cli.commands import run


@pytest.fixture(autouse=True)
def _no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "configure_logging", lambda **_: None)


def test_the_worker_gets_what_the_configuration_says(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = []

    class Recorded:
        def __init__(
            self,
            instance: int,
            spool: Spool,
            settings: Settings,
            worker_settings: WorkerSettings,
            notifier: Notifier,
            *,
            find_native: Callable[[], Native | None],
        ) -> None:
            assert isinstance(notifier, Notifier)
            assert find_native is native.find_native
            self.given = (instance, spool.directory, spool.instance, settings.source_root)
            self.stop_seconds = worker_settings.stop_seconds

        def run(self) -> None:
            began.append((*self.given, self.stop_seconds))

    monkeypatch.setattr(run_module, "Worker", Recorded)
    config.write_text(config.read_text() + "[worker]\nstop_seconds = 5\n")

    assert run(config, "run", "--instance", "7").exit_code == 0

    directory = config.parent
    assert began == [(7, f"{directory}/spool", 7, f"{directory}/source", 5)]


def test_an_instance_that_runs_already_ends_the_command_with_status_75(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.spool.instances._ATTEMPTS", 1)
    spool = Spool(str(config.parent / "spool"), 2)
    spool.prepare()
    lock = spool.instances.lock()

    result = run(config, "run", "--instance", "2")

    assert result.exit_code == 75
    assert "instance 2 is already running on this spool" in result.output
    lock.release()


@pytest.mark.parametrize("arguments", [(), ("--instance", "0"), ("--instance", "1000")])
def test_without_a_number_from_1_to_999_nothing_runs(
    config: Path, arguments: tuple[str, ...]
) -> None:
    result = run(config, "run", *arguments)

    assert (result.exit_code, "--instance" in result.output) == (2, True)
    assert list((config.parent / "spool").iterdir()) == []
