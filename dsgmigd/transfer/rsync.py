"""The rsync step, for sources that `btrfs send` cannot read, and for deferred paths.

Leaving errors: CommandFailed, HostExhausted, TargetFull, whatever the checkpoint raises.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

from dsgmigd.abilities import STORAGE_XATTRS, Abilities
from dsgmigd.command import Commands
from dsgmigd.errors import CommandFailed, TargetFull
from dsgmigd.exclusion import rsync_filters
from dsgmigd.file_errors import host_exhausted


class Rsync:
    """Runs rsync from one directory to another."""

    def __init__(
        self, commands: Commands, abilities: Abilities, checkpoint: Callable[[], None]
    ) -> None:
        self._commands = commands
        self._abilities = abilities
        self._checkpoint = checkpoint

    def mirror(self, source: str, target: str) -> None:
        """Make `target` hold what `source` holds, less what the exclusion rule keeps out."""
        # Without nanoseconds on the target, size and time cannot tell a file that was edited in
        # place within one second; only its content can.
        comparison = () if self._abilities.subsecond_mtime else ("--checksum",)
        self._run("--delete", *comparison, *rsync_filters(), source + "/", target + "/")

    def copy_paths(self, paths: Iterable[bytes], source: str, target: str) -> None:
        """Copy `paths`, each with all below it, from `source` to the same places in `target`."""
        with _named_file(b"\0".join(sorted(paths)) + b"\0") as names:
            options = ("-r", "--ignore-times", "--from0", f"--files-from={names}")
            self._run(*options, source + "/", target + "/")

    def _run(self, *arguments: str) -> None:
        options = ["-aHSx", "--numeric-ids"]
        if self._abilities.acls:
            options.append("-A")
        if self._abilities.xattrs:
            options += ["-X", f"--filter=-x {STORAGE_XATTRS}*"]
        if self._abilities.subsecond_mtime:
            options.append("--modify-window=-1")  # else times of one second are taken for equal
        try:
            self._commands.long_run("rsync", *options, *arguments, checkpoint=self._checkpoint)
        except CommandFailed as error:
            if os.strerror(errno.ENOSPC) in error.stderr or "quota exceeded" in error.stderr:
                raise TargetFull(
                    f"rsync found the target full: {error.stderr.strip()}",
                    hint="free space in the pool or raise the quota",
                ) from error
            raise


@contextlib.contextmanager
def _named_file(content: bytes) -> Iterator[str]:
    """Give the path of a file with this content: rsync opens no file in memory by a name."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            file.write(content)
        except OSError as error:
            raise host_exhausted(f"no temporary file: {error.strerror or error}") from error
        yield file.name
