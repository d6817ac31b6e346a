"""What commands print, and with which exit status they end."""

import contextlib
import logging
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

import click

from dsgmigd.errors import (
    AlreadyRunning,
    DsgmigdError,
    Explained,
    Interruption,
    InvalidConfig,
    InvalidName,
    InvalidRequest,
    MountsHidden,
    SpoolUnusable,
    VerificationFailed,
)
from dsgmigd.host.encoding import to_json
from dsgmigd.host.terminal import printable, shown
from dsgmigd.migration.progress import Progress

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_WARNINGS = 3
EXIT_MISMATCH = 4
EXIT_TRY_AGAIN = 75
EXIT_NOT_ROOT = 77
EXIT_CONFIGURATION = 78
EXIT_PIPE = 141  # as a shell says of a program that SIGPIPE ended

_REFRESH_SECONDS = 0.5
_END_SECONDS = 2.0
_SILENT = logging.CRITICAL  # the highest that structlog 22.3 knows


def exit_code(error: Explained) -> int:
    """Return the exit status that tells scripts what kind of error it was."""
    if isinstance(error, InvalidConfig | SpoolUnusable | MountsHidden):
        return EXIT_CONFIGURATION
    if isinstance(error, InvalidName | InvalidRequest):
        return EXIT_USAGE
    if isinstance(error, VerificationFailed):
        return EXIT_MISMATCH
    if isinstance(error, AlreadyRunning) or error.error_class == "transient":
        return EXIT_TRY_AGAIN
    return EXIT_FAILED


def say_json(document: object) -> None:
    """Print a document as JSON that every parser accepts."""
    say(to_json(document, indent=1))


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print lines; every command prints with this, so that nothing controls the terminal.

    If nobody reads standard output any more, or it is full, the command ends with what it did so
    far. Standard error may be lost.
    """
    stream = sys.stderr if err else sys.stdout
    # Without a stream, because it was closed when the program started, click prints nothing.
    try:
        click.echo(shown(text, getattr(stream, "encoding", None) or "utf-8"), err=err, nl=nl)
    except OSError as error:
        if err:
            _discard(stream)
        else:
            _end_without_output(error)


def _end_without_output(error: OSError) -> NoReturn:
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        sys.exit(EXIT_PIPE)
    say(f"dsgmigd: the output cannot be written: {error.strerror}", err=True)
    sys.exit(EXIT_FAILED)


@contextlib.contextmanager
def failing_output_as_exit_status() -> Iterator[None]:
    """End like `say` where click itself prints: help, the version, an error of usage."""
    try:
        yield
    except OSError as error:
        frames = traceback.walk_tb(error.__traceback__)
        if not any(frame.f_code is click.echo.__code__ for frame, _ in frames):
            raise
        if isinstance(error.__context__, click.ClickException):  # it was printed on stderr
            _discard(sys.stderr)
            sys.exit(error.__context__.exit_code)
        _end_without_output(error)


def _discard(stream: TextIO) -> None:
    """Let a stream lead to nowhere: what waits in its buffer would fail again at the exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def errors_as_exit_status() -> Iterator[None]:
    """Print an error of the command that runs in the block, and end with its exit status."""
    try:
        yield
    except (DsgmigdError, Interruption) as error:
        say(f"dsgmigd: {error.code}: {printable(error.message)}", err=True)
        if error.hint:
            say(f"         {printable(error.hint)}", err=True)
        sys.exit(exit_code(error))
    except PermissionError as error:
        if os.geteuid() == 0:
            raise  # a broken host
        say(f"dsgmigd: {printable(str(error))}", err=True)
        command = shlex.join(["sudo", "dsgmigd", *sys.argv[1:]])
        say(f"         this command must be run as root: {command}", err=True)
        sys.exit(EXIT_NOT_ROOT)


def log_beside_progress() -> None:
    """Log to stderr, unless that is a terminal, which shows the progress line."""
    # Most commands log nothing: see dsgmigd.host.log.
    import structlog  # noqa: PLC0415

    from dsgmigd.service.journal import configure_logging  # noqa: PLC0415

    if sys.stderr.isatty():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
    else:
        configure_logging()


@contextlib.contextmanager
def progress_shown(progress: Progress) -> Iterator[None]:
    """Show progress while the block runs: one line on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(_REFRESH_SECONDS):
            click.echo("\r\x1b[K", nl=False, err=True)
            say(printable(str(progress)), nl=False, err=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_END_SECONDS)  # a terminal that is stopped takes nothing
        click.echo("\r\x1b[K", nl=False, err=True)


def unchecked(checks: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each check of a result that covered nothing, unless no check did."""
    if not any(check["checked"] for check in checks.values()):
        return []
    return [
        f"not checked: {name.replace('_', ' ')}: {check['reason']}"
        for name, check in checks.items()
        if not check["checked"]
    ]


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return rows as aligned columns; what is not printable in a cell is escaped."""
    texts = [header, *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )
