"""The logger of the rooms that log rarely."""

from typing import Any


def get_logger() -> Any:
    """Return structlog's logger, importing structlog when something is logged.

    Its import takes a third of the start of a command, and most commands log nothing.
    """
    import structlog  # noqa: PLC0415

    return structlog.get_logger()
