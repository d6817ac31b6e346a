"""Run other programs; no other module does.

Programs get an argv list, a standard input that is empty unless the caller gives its content, a
constructed environment, `/` as their working directory and a session of their own. When a call
ends, no child process is left. The descriptors in `keep_descriptors` stay open in every child: a
repository's lock is one of them, so that the kernel keeps the lock until the last child has ended.

Raises: CommandFailed, CommandTimedOut, HostExhausted, and whatever a checkpoint raises.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, cast

from dsgmigd.errors import CommandFailed, CommandTimedOut, DsgmigdError, StreamCorrupt
from dsgmigd.host.file_errors import EXHAUSTED, host_exhausted

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",  # in C, zfs creates no mountpoint with an umlaut in its path
    "TZ": "UTC",
}
_BUFFER_BYTES = 256 * 1024
_POLL_SECONDS = 0.2
_STDERR_KEPT_BYTES = 4096
_EXIT_WAIT_SECONDS = 5
_NOT_RUN = 127  # as shells do


class Commands:
    """Runs programs for one repository."""

    def __init__(self, *, keep_descriptors: tuple[int, ...] = ()) -> None:
        self._keep_descriptors = keep_descriptors
        self._running: set[subprocess.Popen[bytes]] = set()

    def kill_all(self) -> None:
        """Kill every running program; the call that waits for it raises CommandFailed."""
        for process in tuple(self._running):
            _kill(process)

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
        content: bytes | None = None,
    ) -> str:
        """Run a program to its end and return its output; it also keeps `keep_descriptors`.

        The program reads `content`, or nothing, from its standard input.
        """
        stdin = subprocess.DEVNULL if content is None else subprocess.PIPE
        process = self._start(argv, subprocess.PIPE, subprocess.PIPE, keep_descriptors, stdin)
        with self._reaped(process):
            try:
                stdout, stderr = process.communicate(content, timeout=timeout_seconds)
            except subprocess.TimeoutExpired as error:
                raise CommandTimedOut(argv, timeout_seconds=timeout_seconds) from error
            except OSError as error:
                raise _error_of(argv, f"reading the output of {argv[0]}", error) from error
        if process.returncode:
            raise CommandFailed(argv, status=process.returncode, stderr=_text_of(stderr))
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

    def pipe(self, *argv: str) -> "Pipe":
        """Start a program and return it; its output is read while it runs."""
        with contextlib.ExitStack() as opened:
            stderr = opened.enter_context(_memory_file())
            process = self._start(argv, subprocess.PIPE, stderr)
            opened.enter_context(self._reaped(process))
            return Pipe(process, argv, stderr, opened.pop_all())

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
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):  # what it did not want to read
                        pipe.close()

    def _start(
        self,
        argv: tuple[str, ...],
        stdout: int,
        stderr: "int | IO[bytes]",
        keep_descriptors: tuple[int, ...] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                argv,
                bufsize=_BUFFER_BYTES,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=_ENVIRONMENT,
                pass_fds=(*self._keep_descriptors, *keep_descriptors),
                start_new_session=True,
                cwd="/",  # our own directory may be deleted, or about to be unmounted
            )
        except OSError as error:
            raise _error_of(argv, f"starting {argv[0]}", error) from error


class Pipe:
    """A running program and its output, `stream`. Either `finish` or `kill` must be called.

    A `with` block does so: it gives the stream, finishes the program at the end of the block, and
    kills it when an exception leaves the block. If that exception says that the stream is damaged
    and the program itself failed, the program's error message is raised instead.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        argv: tuple[str, ...],
        stderr: IO[bytes],
        opened: contextlib.ExitStack,
    ) -> None:
        self.stream = cast("IO[bytes]", process.stdout)
        self._process = process
        self._argv = argv
        self._stderr = stderr
        self._opened = opened

    def finish(self) -> None:
        """Wait until the program ends; raise CommandFailed unless it succeeded."""
        with self._opened:
            self._process.wait()
            self._check_status()

    def kill(self) -> None:
        """End the program, whatever it is doing; its exit status does not matter."""
        self._opened.close()

    def __enter__(self) -> IO[bytes]:
        return self.stream

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is None:
            self.finish()
            return
        with self._opened:
            if isinstance(exception, StreamCorrupt):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_EXIT_WAIT_SECONDS)
                    self._check_status()

    def _check_status(self) -> None:
        _check_status(self._process, self._argv, self._stderr)


@contextlib.contextmanager
def _memory_file() -> Iterator[IO[bytes]]:
    """Give a file in memory, which needs no space on a disk."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(open(os.memfd_create("stderr"), "w+b", buffering=0))
        except OSError as error:
            raise host_exhausted(f"creating a file in memory failed: {error.strerror}") from error
        yield file


def _error_of(argv: tuple[str, ...], action: str, error: OSError) -> DsgmigdError:
    if error.errno in EXHAUSTED:
        return host_exhausted(f"{action} failed: {error.strerror}")
    return CommandFailed(argv, status=_NOT_RUN, stderr=str(error))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and all its children: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _check_status(
    process: "subprocess.Popen[bytes]", argv: tuple[str, ...], stderr: IO[bytes]
) -> None:
    if process.returncode:
        message = b""
        with contextlib.suppress(OSError):
            stderr.seek(0)
            message = stderr.read(_STDERR_KEPT_BYTES)
        raise CommandFailed(argv, status=process.returncode, stderr=_text_of(message))


def _text_of(stderr: bytes) -> str:
    return stderr[:_STDERR_KEPT_BYTES].decode("utf-8", "replace")
