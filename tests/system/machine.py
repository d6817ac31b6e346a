"""A machine that can be switched on and told what to do; its kinds are user_mode and emulated.

Everything has a time limit, and what fails tells the end of the console's log.
Raises: MachineError.
"""

import compileall
import re
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.integration.releases import cache_directory
from tests.system.channel import Channel, MachineError, Output
from tests.system.image import CHECKOUT

Found = TypeVar("Found")

# What the tests fetched on this host, below the checkout.
MACHINE_CACHE = ".cache"
_LOOK_SECONDS = 0.2
_CONSOLE_CHARACTERS = 4000
_WORDS_CHARACTERS = 3000
# The recipe's files name what is built from them.
_NOT_COMPILED = re.compile("/recipe/")
_COMPILED = ("dsgmigd", "packaging/quickstart", "tests")
_IN_THE_CHECKOUT = (
    "Makefile README.md bench dist docs dsgmigd etc packaging pyproject.toml systemd tests"
)


class Machine(ABC):
    """One machine. It lives in `directory`, which is the caller's to remove."""

    boot_seconds = 60.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._channel: Channel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    # Power.

    @abstractmethod
    def device(self, name: str) -> str:
        """Return the device in the machine that is the disk `name`."""

    @abstractmethod
    def power_on(self) -> Channel:
        """Switch the machine on; return the line to its agent."""

    @abstractmethod
    def power_off(self) -> None:
        """Take the machine's power away."""

    @abstractmethod
    def wait_end(self) -> None:
        """Wait until the machine is switched off from the inside."""

    def boot(self) -> None:
        """Switch the machine on, and wait until it runs commands."""
        self._channel = self.power_on()
        self._wait_boot()

    def reboot(self) -> None:
        """Reboot as an administrator does it."""
        self.run("systemctl --no-block reboot")
        self._wait_boot()

    def kill(self) -> None:
        """End the machine at once, whatever it does."""
        if self._channel:
            self._channel.close()
        self._channel = None
        self.power_off()

    def _wait_boot(self) -> None:
        try:
            self._connected().wait_boot(self.boot_seconds)
        except MachineError as error:
            raise self._failed(str(error)) from error

    # Commands.

    def run(self, command: str, *, seconds: float = 120, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        output = self.call(["/bin/bash", "-c", command], seconds=seconds)
        if check and output.code != 0:
            words = (output.stdout + output.stderr).decode(errors="replace")
            raise self._failed(f"{command!r} gave {output.code}: {words[-_WORDS_CHARACTERS:]}")
        return output.text

    def succeeds(self, command: str, *, seconds: float = 120) -> bool:
        """Say whether a shell command ends with 0."""
        return self.call(["/bin/bash", "-c", command], seconds=seconds).code == 0

    def call(self, argv: Iterable[str], *, content: bytes = b"", seconds: float = 120) -> Output:
        """Run a program as root, whatever comes of it."""
        try:
            return self._connected().call(list(argv), content, seconds)
        except MachineError as error:
            raise self._failed(str(error)) from error

    def wait_until(self, command: str, *, seconds: float = 600) -> None:
        """Run a shell command again and again until it ends with 0."""
        self.wait_for(lambda: self.succeeds(command), command, seconds=seconds)

    def wait_for(self, look: Callable[[], Found | None], what: str, *, seconds: float) -> Found:
        """Look again and again until there is something; return it."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise self._failed(f"waited {seconds} s for {what}")
            time.sleep(_LOOK_SECONDS)
        return found

    def copy_in(self, content: bytes, path: str) -> None:
        """Write a file in the machine."""
        self.call(["/usr/bin/dd", "status=none", f"of={path}"], content=content)

    def copy_out(self, path: str) -> bytes:
        """Return the content of a file in the machine."""
        return self.call(["/usr/bin/cat", path]).stdout

    def _connected(self) -> Channel:
        if self._channel is None:
            raise MachineError("the machine is off")
        return self._channel

    def _failed(self, words: str) -> MachineError:
        return MachineError(f"{words}\nthe console's last words:\n{self.console()}")

    def console(self) -> str:
        """Return the end of what the machine wrote to its serial console."""
        try:
            return self.log.read_text(errors="replace")[-_CONSOLE_CHARACTERS:]
        except FileNotFoundError:
            return ""

    @property
    def log(self) -> Path:
        """Return the file to which the machine writes its console."""
        return self.directory / "console.log"


def pack_checkout(path: Path) -> None:
    """Pack what the machine sees of the checkout; it reads the archive from a disk of its own."""

    # An emulated machine compiles for minutes what this host compiles in seconds.
    for name in _COMPILED:
        compileall.compile_dir(CHECKOUT / name, quiet=2, rx=_NOT_COMPILED)
    with tarfile.open(path, "w") as archive:
        for name in _IN_THE_CHECKOUT.split():
            if (CHECKOUT / name).exists():
                archive.add(CHECKOUT / name, name)
        if (fetched := cache_directory()).exists():
            archive.add(fetched, f"{MACHINE_CACHE}/{fetched.name}")
