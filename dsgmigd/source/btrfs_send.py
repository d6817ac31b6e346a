"""`btrfs send`: starts the program, and reads the commands of its output.

Owns the send streams of one repository. The next stream can be started ahead of its reader, so
that the source is read while the target is being verified; at most one is running at any time.

Raises: CommandFailed, HostExhausted, SourceUnreadable, StreamCorrupt, StreamRestarted.
"""

from collections.abc import Iterator
from typing import IO, Literal

from dsgmigd.host.command import Commands, Pipe
from dsgmigd.host.file_errors import source_error
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.send_stream import Command, read_commands
from dsgmigd.source.subvolume import newest_send_protocol

# The version of a stream. "compressed" is version 2, in which data that is compressed in the source
# stays so.
SendProtocol = Literal[1, 2, "compressed"]


class SendStreams:
    """The send streams of one repository, one after the other.

    `protocol` is what was asked for, or None; `self.protocol` is what the streams have.
    """

    def __init__(self, commands: Commands, protocol: SendProtocol | None) -> None:
        self._commands = commands
        self.protocol = choose_protocol(protocol, newest_send_protocol())
        self._prefetched: tuple[SnapshotName, Pipe] | None = None

    def prefetch(self, held: HeldSnapshot, parent: HeldSnapshot) -> None:
        """Start the stream of `held`; the program runs until the pipe is full, then waits.

        If the program fails, the reader of the stream gets the error.
        """
        self.close()
        self._prefetched = held.name, self._start(held, parent)

    def start(self, held: HeldSnapshot, parent: HeldSnapshot | None) -> Pipe:
        """Return the stream of `held`: the one that was prefetched, or a new one."""
        if self._prefetched is not None and self._prefetched[0] == held.name:
            _, pipe = self._prefetched
            self._prefetched = None
            return pipe
        self.close()
        return self._start(held, parent)

    def close(self) -> None:
        """Kill the program of a prefetched stream that was not used."""
        if self._prefetched is not None:
            self._prefetched[1].kill()
            self._prefetched = None

    def _start(self, held: HeldSnapshot, parent: HeldSnapshot | None) -> Pipe:
        return self._commands.pipe(*send_command(held, parent, self.protocol))


def choose_protocol(wanted: SendProtocol | None, newest: int) -> SendProtocol:
    """Return the protocol to use, where `newest` is the newest version that the kernel supports.

    Without a wish it is version 2: version 3 adds only fs-verity, and decoding compressed data here
    is seldom faster than letting the kernel do it (docs/performance.md).
    """
    if newest < 2 and wanted != 2:  # noqa: PLR2004
        return 1
    return wanted or 2


def send_command(
    held: HeldSnapshot, parent: HeldSnapshot | None, protocol: SendProtocol
) -> list[str]:
    """Return the command that writes the stream of `held`, as changes to `parent` if there is one.

    See btrfs-send(8).
    """
    is_compressed = protocol == "compressed"
    command = ["btrfs", "send", "-q", "--proto", "2" if is_compressed else str(protocol)]
    if is_compressed:
        command.append("--compressed-data")
    if parent is not None:
        command += ["-p", parent.path]
    return [*command, held.path]


def commands_in(stream: IO[bytes]) -> Iterator[Command]:
    """Yield the commands of a running stream."""
    try:
        yield from read_commands(stream.read)
    except OSError as error:
        raise source_error(error, "reading the send stream") from error
