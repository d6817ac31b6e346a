"""The one gate to other programs.

Programs get an argv list, no input, a constructed environment, the root as their directory and a
session of their own; none is left behind when a call ends. The descriptors in `keep_descriptors`
stay open in every child: a repository's lock is among them, so that the kernel keeps the lock until
the last child is gone.

Leaving errors: CommandFailed, CommandTimedOut, HostExhausted, whatever a checkpoint raises.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import IO, cast

from dsgmigd.errors import CommandFailed, CommandTimedOut, DsgmigdError, StreamCorrupt
from dsgmigd.file_errors import EXHAUSTED, host_exhausted

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "TZ": "UTC",
}
_BUFFER_BYTES = 256 * 1024
_POLL_SECONDS = 0.2
_STDERR_KEPT_BYTES = 4096
_LAST_WORDS_SECONDS = 5
_NOT_RUN = 127  # as shells say it


class Commands:
    """Runs programs for one repository."""

    def __init__(self, *, keep_descriptors: tuple[int, ...] = ()) -> None:
        self._keep_descriptors = keep_descriptors
        self._running: set[subprocess.Popen[bytes]] = set()

    def kill_all(self) -> None:
        """Kill every program that runs now; whoever waits for one hears that it failed."""
        for process in tuple(self._running):
            _kill(process)

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        """Run a program to its end and return what it printed; it has `keep_descriptors` too."""
        process = self._start(argv, subprocess.PIPE, subprocess.PIPE, keep_descriptors)
        with self._reaped(process):
            try:
                stdout, stderr = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired as error:
                raise CommandTimedOut(argv, timeout_seconds=timeout_seconds) from error
            except OSError as error:
                raise _cannot(argv, "heard", error) from error
        if process.returncode:
            raise CommandFailed(argv, status=process.returncode, stderr=_words(stderr))
        return str(stdout, "utf-8", "surrogateescape")

    def long_run(self, *argv: str, checkpoint: Callable[[], None]) -> None:
        """Run a program that may take hours, calling `checkpoint` several times a second."""
        with _memory_file() as stderr:
            process = self._start(argv, subprocess.DEVNULL, stderr)
            with self._reaped(process):
                while process.poll() is None:
                    checkpoint()
                    time.sleep(_POLL_SECONDS)
            _check_status(process, argv, stderr)

    @contextlib.contextmanager
    def pipe(self, *argv: str) -> Iterator[IO[bytes]]:
        """Give the program's output as a stream; at the end of the block it must have succeeded.

        When the reader finds the stream damaged and the program failed, the program's own words
        are the error.
        """
        with _memory_file() as stderr:
            process = self._start(argv, subprocess.PIPE, stderr)
            with self._reaped(process):
                try:
                    yield cast("IO[bytes]", process.stdout)
                except StreamCorrupt:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_LAST_WORDS_SECONDS)
                        _check_status(process, argv, stderr)
                    raise
                process.wait()
            _check_status(process, argv, stderr)

    @contextlib.contextmanager
    def _reaped(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        self._running.add(process)
        try:
            yield
        finally:
            if process.poll() is None:
                _kill(process)
            process.wait()
            self._running.discard(process)
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def _start(
        self,
        argv: tuple[str, ...],
        stdout: int,
        stderr: "int | IO[bytes]",
        keep_descriptors: tuple[int, ...] = (),
    ) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                argv,
                bufsize=_BUFFER_BYTES,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=_ENVIRONMENT,
                pass_fds=(*self._keep_descriptors, *keep_descriptors),
                start_new_session=True,
                cwd="/",  # where we were started may be gone, or about to be unmounted
            )
        except OSError as error:
            raise _cannot(argv, "started", error) from error


@contextlib.contextmanager
def _memory_file() -> Iterator[IO[bytes]]:
    """Give a file that needs room on no disk."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(open(os.memfd_create("stderr"), "w+b", buffering=0))
        except OSError as error:
            raise host_exhausted(f"no file in memory: {error.strerror}") from error
        yield file


def _cannot(argv: tuple[str, ...], what: str, error: OSError) -> DsgmigdError:
    if error.errno in EXHAUSTED:
        return host_exhausted(f"{argv[0]} could not be {what}: {error.strerror}")
    return CommandFailed(argv, status=_NOT_RUN, stderr=str(error))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program with all that it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _check_status(
    process: "subprocess.Popen[bytes]", argv: tuple[str, ...], stderr: IO[bytes]
) -> None:
    if process.returncode:
        words = b""
        with contextlib.suppress(OSError):
            stderr.seek(0)
            words = stderr.read(_STDERR_KEPT_BYTES)
        raise CommandFailed(argv, status=process.returncode, stderr=_words(words))


def _words(stderr: bytes) -> str:
    return stderr[:_STDERR_KEPT_BYTES].decode("utf-8", "replace")
