"""The start of the program: what is no error of ours is logged, and ends with status 1."""

import pytest
import structlog.testing

from dsgmigd import __main__ as program
from dsgmigd.service import journal


def test_a_bug_is_logged_with_its_traceback_and_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flushed = []

    def crash() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(program, "run_command_line", crash)
    monkeypatch.setattr(journal, "flush_journal", lambda: flushed.append(True))
    with structlog.testing.capture_logs() as logs, pytest.raises(SystemExit) as ended:
        program.main()

    assert ended.value.code == 1
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("process.crashed", "critical")
    assert told["exc_info"] is True
    assert flushed == [True]


@pytest.mark.parametrize("status", [0, 2, 75])
def test_the_exit_status_of_a_command_is_that_of_the_program(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def end() -> None:
        raise SystemExit(status)

    monkeypatch.setattr(program, "run_command_line", end)
    with structlog.testing.capture_logs() as logs, pytest.raises(SystemExit) as ended:
        program.main()

    assert ended.value.code == status
    assert logs == []
