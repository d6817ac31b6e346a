"""The line to the agent in the machine: commands go in, what they printed comes out.

The other end is `recipe/root/usr/local/lib/dsgmigd-test/agent.py`, which says what a line is.
Nothing here waits for ever. Raises: MachineError.
"""

import base64
import json
import socket
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

# How much longer than a command may take its answer may: the machine is slow.
_GRACE_SECONDS = 60
_CONNECT_SECONDS = 30
_TICK_SECONDS = 0.05


class MachineError(Exception):
    """The machine does not do what it was told; the message says what is known."""


@dataclass(frozen=True)
class Output:
    """What came of a command; `code` is None when its time was over."""

    code: int | None
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What was printed, without the newline at the end."""
        return self.stdout.decode(errors="surrogateescape").rstrip("\n")


class Channel:
    """Commands for one machine, one after the other; the machine may reboot in between."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""
        self._numbers = count(1)
        self._boot: str | None = None

    @classmethod
    def connected(cls, path: Path) -> "Channel":
        """Return the line to a machine that listens at the socket `path`."""
        return cls(_connected(path))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def wait_boot(self, seconds: float) -> str:
        """Return the name of the boot once the agent of a boot not yet seen is there."""
        before, deadline = self._boot, time.monotonic() + seconds
        while self._boot == before or self._boot is None:
            self._next(deadline, "the agent in the machine")
        return self._boot

    def call(self, argv: list[str], content: bytes, seconds: float) -> Output:
        """Run a command in the machine to its end, or kill it when its time is over."""
        number = next(self._numbers)
        asked = {"id": number, "argv": argv, "seconds": seconds}
        self._send({**asked, "input": base64.b64encode(content).decode("ascii")})
        boot, deadline = self._boot, time.monotonic() + seconds + _GRACE_SECONDS
        while True:
            answer = self._next(deadline, f"an answer to {argv}")
            if self._boot != boot:
                raise MachineError(f"the machine booted while it ran {argv}")
            if answer.get("id") == number:
                texts = (base64.b64decode(answer[key]) for key in ("stdout", "stderr"))
                return Output(answer["code"], *texts)

    def _send(self, asked: dict[str, Any]) -> None:
        self._socket.settimeout(_GRACE_SECONDS)
        try:
            self._socket.sendall(json.dumps(asked).encode("ascii") + b"\n")
        except OSError as error:
            raise MachineError(f"the machine takes no command: {error}") from error

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        """Return the next thing that the agent said, and note a new boot."""
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise MachineError(f"waited too long for {what}")
            self._socket.settimeout(left)
            try:
                received = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise MachineError(f"waited for {what}: {error}") from error
            if not received:
                raise MachineError(f"the machine ended while it was asked for {what}")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:  # what an agent was saying when its machine was reset
            return {}
        self._boot = said.get("boot", self._boot)
        return said


def _connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            made.connect(str(path))
        except OSError as error:
            if time.monotonic() > deadline:
                made.close()
                raise MachineError(f"the machine does not open {path}: {error}") from error
            time.sleep(_TICK_SECONDS)
        else:
            return made
