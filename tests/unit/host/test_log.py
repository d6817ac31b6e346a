"""structlog is imported when something is logged, and not before."""

import subprocess
import sys

import pytest
import structlog.testing

from dsgmigd.host.log import get_logger

COMMANDS = ("queue", "control", "history", "rollback", "doctor", "migration")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_logs_nothing_starts_without_structlog(command: str) -> None:
    imports = f"import sys, dsgmigd.__main__, dsgmigd.cli.{command}"
    program = f"{imports}; print('structlog' in sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", program), check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "False\n"


def test_the_logger_is_structlogs() -> None:
    with structlog.testing.capture_logs() as logs:
        get_logger().warning("some.event", name="SV")
    assert logs == [{"event": "some.event", "name": "SV", "log_level": "warning"}]
