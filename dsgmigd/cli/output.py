"""How commands speak to people, and with which status they end."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from dsgmigd.errors import (
    AlreadyRunning,
    DsgmigdError,
    InvalidConfig,
    InvalidName,
    InvalidRequest,
    SpoolUnusable,
    VerificationFailed,
)
from dsgmigd.progress import Progress

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_WARNINGS = 3
EXIT_MISMATCH = 4
EXIT_TRY_AGAIN = 75
EXIT_CONFIGURATION = 78

_REFRESH_SECONDS = 0.5


def exit_code(error: DsgmigdError) -> int:
    """Return the exit status that tells scripts what kind of error it was."""
    if isinstance(error, InvalidConfig | SpoolUnusable):
        return EXIT_CONFIGURATION
    if isinstance(error, InvalidName | InvalidRequest):
        return EXIT_USAGE
    if isinstance(error, VerificationFailed):
        return EXIT_MISMATCH
    if isinstance(error, AlreadyRunning) or error.error_class == "transient":
        return EXIT_TRY_AGAIN
    return EXIT_FAILED


@contextlib.contextmanager
def errors_for_people() -> Iterator[None]:
    """Print errors of ours as two lines, and end with their status."""
    try:
        yield
    except DsgmigdError as error:
        give_up(error)
    except PermissionError as error:
        if os.geteuid() == 0:
            raise  # a broken host
        click.echo(f"dsgmigd: {error}\n         this verb is for root", err=True)
        sys.exit(EXIT_FAILED)


def give_up(error: DsgmigdError) -> NoReturn:
    """Print an error and end the process with its status."""
    click.echo(f"dsgmigd: {error.code}: {error.message}", err=True)
    if error.hint:
        click.echo(f"         {error.hint}", err=True)
    sys.exit(exit_code(error))


@contextlib.contextmanager
def progress_shown(progress: Progress) -> Iterator[None]:
    """Show progress on stderr while the block runs: one line that moves, if a person looks."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(_REFRESH_SECONDS):
            click.echo(f"\r\x1b[K{progress}", nl=False, err=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        click.echo("\r\x1b[K", nl=False, err=True)


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return rows as aligned columns."""
    texts = [header, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )


def shown(text: str) -> str:
    """Return text that does nothing to a terminal, whatever the names in it are."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )
