"""The ledger of a spool: one line for each act, each with the hash of the line before it.

    .dsgmigd/results/ledger.jsonl    the lines (see dsgmigd.spool.ledger_line); only appended to
    .dsgmigd/ledger.lock             its lock, held for each line only

The rule, so that there is never an act without a line, nor a line without an act:

- A request of the queue: its result is on disk, then its line, then its claim goes. Whoever finds
  the claim with a result after a crash looks for the line in the last MiB of the ledger, and writes
  it if it is not there. If the ledger is longer than that, there may be such a line further up:
  then the new one has `again`.
- A command: the line `begun` is on disk before it changes anything, and a second line with the
  outcome when it has ended; that one has the number of the first as `begun`. A command that was
  killed leaves the first line alone, which says no more than is known.
- A submission has no line. Members submit with `touch`, and cannot write here; the line of the
  result names the owner of the request.
- Of the rejected requests of members not each has a line (see dsgmigd.spool.rejection_lines).

A line is on disk when `append` returns. A part of a line that a crash left stays, ended by a
newline, and the next line, `recovered`, has its length and hash. Appending reads the last 64 KiB.
Space for about a hundred lines is reserved before an act begins, as for results.

Whoever can write to the ledger can write all of it anew: note its last hash elsewhere (`dsgmigd
ledger check` prints it, and the journal has it for each line).

Raises: OSError when the spool's file system fails, or the ledger is damaged.
"""

import contextlib
import errno
import hashlib
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsgmigd.host.durable import append_durably, reserve_beyond_end, sync_directory
from dsgmigd.host.encoding import iso_time
from dsgmigd.host.locks import Lock, try_lock
from dsgmigd.host.log import get_logger
from dsgmigd.host.regular import read_pieces
from dsgmigd.names import RepoName
from dsgmigd.spool.deferral import Moment
from dsgmigd.spool.layout import SpoolLayout
from dsgmigd.spool.ledger_line import (
    RECOVERED,
    REQUEST,
    Entry,
    Line,
    Tail,
    When,
    parse_tail,
    write_line,
)
from dsgmigd.spool.rejection_lines import RejectionLines
from dsgmigd.spool.submitter import is_administrator

_MODE = 0o644  # like the results beside it: whoever may enter the spool may read it
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_RESERVED_BYTES = 64 * 1024
_NEAR_BYTES = 64 * 1024
_FAR_BYTES = 1024 * 1024
_PATIENCE_SECONDS = 5.0
_TICK_SECONDS = 0.01
_LOGIN_USER = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1


class Ledger:
    """The ledger of one spool, as one instance writes it; instance 0 is a command."""

    def __init__(self, layout: SpoolLayout, instance: int) -> None:
        self._layout = layout
        self._instance = instance
        self._rejections = RejectionLines()

    def reserve(self) -> None:
        """Reserve the space of the lines of an act, so that they fit if the spool fills up.

        Raises OSError also if the ledger is damaged, so that none could be appended.
        """
        with self._opened() as descriptor:
            reserve_beyond_end(descriptor, _RESERVED_BYTES)
            _read_tail(descriptor, _NEAR_BYTES)

    def append(self, entry: Entry) -> Line:
        """Append the line of an act; it is on disk on return."""
        with self._opened() as descriptor:
            return self._write(descriptor, [entry], _read_tail(descriptor, _NEAR_BYTES))[-1]

    def record_kept(
        self,
        repo: RepoName,
        request_id: str,
        result: Mapping[str, Any],
        *,
        is_replayed: bool = False,
    ) -> None:
        """Append the line of a request whose kept result is `result`; see `record_result`."""
        path = self._layout.kept_result(repo, request_id)
        self.record_result(repo, request_id, result, path, is_replayed=is_replayed)

    def record_result(
        self,
        repo: str,
        request_id: str,
        result: Mapping[str, Any],
        path: str,
        *,
        is_replayed: bool = False,
    ) -> None:
        """Append the line of a request that ended with the `result` at `path`, unless it is there.

        `is_replayed`: the result was there already, so a process that crashed may have written the
        line. Call it after the result is on disk, and before its claim is removed.
        """
        owner = result.get("submitted_by") or {}
        entry = Entry(
            act=REQUEST,
            outcome=result.get("outcome"),
            instance=self._instance,
            user=_describe_submitter(owner) if owner else None,
            repo=repo,
            request_id=request_id,
            error=(result.get("error") or {}).get("code"),
        )
        entry = self.with_result(entry, path)
        if entry.outcome == "rejected" and owner and not is_administrator(owner["uid"]):
            unlisted = self._rejections.count_unlisted(owner["uid"], request_id)
            if unlisted is None:
                return
            entry = replace(entry, unlisted=unlisted)
        with self._opened() as descriptor:
            tail = _read_tail(descriptor, _FAR_BYTES if is_replayed else _NEAR_BYTES)
            is_there = any(line.tells_of(entry) for line in tail.lines)
            again = is_replayed and not tail.is_whole
            self._write(descriptor, [] if is_there else [replace(entry, again=again)], tail)

    def with_result(self, entry: Entry, path: str) -> Entry:
        """Return `entry` with name and hash of the result file at `path`, if there is one."""
        digest = hash_file(path)
        if digest is None:
            return entry
        return replace(entry, result=self._layout.recorded_name(path), result_sha256=digest)

    def read(self) -> Iterator[bytes]:
        """Yield the lines of the ledger, with their newlines, up to its end at this moment.

        The last one may be a part of a line: an appender that crashed left it, or writes it now.
        """
        with contextlib.suppress(FileNotFoundError), open(self._layout.ledger, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0 and (line := file.readline(min(left, _FAR_BYTES))):
                left -= len(line)
                yield line

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep every other process from appending while the block runs; keep it short."""
        lock = self._lock()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        with self.quiet():
            descriptor = os.open(self._layout.ledger, _FLAGS, _MODE)
            try:
                if os.fstat(descriptor).st_size == 0:
                    os.fchmod(descriptor, _MODE)
                    sync_directory(self._layout.results)
                yield descriptor
            finally:
                os.close(descriptor)

    def _lock(self) -> Lock:
        path = self._layout.ledger_lock
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (lock := try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another process keeps the lock of the ledger", path)
            time.sleep(_TICK_SECONDS)
        return lock

    def _write(self, descriptor: int, entries: list[Entry], tail: Tail) -> list[Line]:
        """Append the lines of `entries`, after one about what a crash left, if it did."""
        with contextlib.suppress(OSError):  # whether there is room, the write itself tells
            reserve_beyond_end(descriptor, _RESERVED_BYTES)
        lines: list[Line] = []
        content = b"" if tail.is_ended else b"\n"
        for entry in (*self._recovery(tail), *entries):
            text, line = write_line(entry, lines[-1] if lines else tail.last, _now())
            lines.append(line)
            content += text
        # Also without any: the line that is there already may not be on disk yet.
        append_durably(descriptor, content)
        for line in lines:
            _log(line)
        return lines

    def _recovery(self, tail: Tail) -> list[Entry]:
        """Return the entry that tells what a crash left at the end of the ledger, if it did."""
        if not tail.torn and tail.is_ended:
            return []
        torn = tail.torn.removesuffix(b"\n")
        return [Entry(RECOVERED, RECOVERED, self._instance, acting_user(), torn=torn)]


def acting_user() -> dict[str, Any]:
    """Return who runs this process, as a line names users.

    `loginuid` is who logged in, before any sudo (proc(5)); null for what systemd started.
    """
    uid, login = os.getuid(), None
    with contextlib.suppress(OSError, ValueError):
        login = int(_LOGIN_USER.read_text(encoding="ascii"))
    name = None
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
    return {"uid": uid, "user": name, "loginuid": None if login == _NO_LOGIN else login}


def hash_file(path: str) -> str | None:
    """Return the SHA-256 of the file at `path`; None if there is none."""
    digest = hashlib.sha256()
    try:
        for piece in read_pieces(path):
            digest.update(piece)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _describe_submitter(owner: Mapping[str, Any]) -> dict[str, Any]:
    user = {"uid": owner["uid"], "user": owner.get("user"), "loginuid": None}
    return user | ({"is_shared": True} if owner.get("is_shared") else {})


def _now() -> When:
    moment = Moment.now()
    return When(iso_time(time.time()), moment.boot_id, moment.seconds)


def _read_tail(descriptor: int, size_bytes: int) -> Tail:
    """Return the tail of a ledger, from at least its last `size_bytes`."""
    size = os.fstat(descriptor).st_size
    while True:
        start = max(0, size - size_bytes)
        content = os.pread(descriptor, size - start, start)
        if len(content) != size - start:
            raise OSError(errno.EIO, "the end of the ledger cannot be read")
        tail = parse_tail(content, is_whole=start == 0)
        if tail is not None:
            return tail
        if size_bytes >= _FAR_BYTES:
            raise OSError(
                errno.EUCLEAN,
                "the ledger has no line in its last MiB: move .dsgmigd/results/ledger.jsonl away, "
                "and find out what wrote there",
            )
        size_bytes = _FAR_BYTES


def _log(line: Line) -> None:
    log, told = get_logger(), line.document
    if torn := told.get("torn"):
        log.warning("ledger.recovered", bytes=torn["bytes"], sha256=torn["sha256"])
    log.info(
        "ledger.recorded",
        act=told["act"],
        outcome=told["outcome"],
        repo=told["repo"],
        request_id=told["request_id"],
        line=line.seq,
        line_sha256=line.sha256,
    )
