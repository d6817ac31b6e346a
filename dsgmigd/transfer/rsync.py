"""Runs rsync: for snapshots that `btrfs send` cannot send, and for deferred paths.

Raises: CommandFailed, HostExhausted, TargetFull, and the errors of the checkpoint.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

from dsgmigd.errors import CommandFailed, TargetFull
from dsgmigd.exclusion import rsync_filters
from dsgmigd.host.command import Commands
from dsgmigd.host.file_errors import host_exhausted
from dsgmigd.target.capabilities import STORAGE_XATTRS, Capabilities


class Rsync:
    """Runs rsync from one directory to another; `checkpoint` is called meanwhile.

    Without `sets_times` the caller must set every time.
    """

    def __init__(
        self,
        commands: Commands,
        capabilities: Capabilities,
        checkpoint: Callable[[], None],
        *,
        sets_times: bool = True,
    ) -> None:
        self._commands = commands
        self._capabilities = capabilities
        self._checkpoint = checkpoint
        self._sets_times = sets_times

    def mirror(self, source: str, target: str) -> None:
        """Make `target` equal to `source`, without what is excluded."""
        # A file may have other contents with the same size and time: contents are compared.
        self._run("--delete", "--checksum", *rsync_filters(), source + "/", target + "/")

    def copy_paths(self, paths: Iterable[bytes], source: str, target: str) -> None:
        """Copy `paths`, each with everything below it, from `source` to `target`."""
        # rsync takes a name that begins with "#" or ";" for a comment.
        with _named_file(b"".join(b"./" + path + b"\0" for path in sorted(paths))) as names:
            options = ("-r", "--ignore-times", "--from0", f"--files-from={names}")
            self._run(*options, source + "/", target + "/")

    def _run(self, *arguments: str) -> None:
        options = ["-aHSx", "--numeric-ids"]
        if not self._sets_times:
            options.append("--no-times")
        if self._capabilities.acls:
            options.append("-A")
        if self._capabilities.xattrs:
            options += ["-X", f"--filter=-x {STORAGE_XATTRS}*"]
        if self._capabilities.subsecond_mtime:
            options.append("--modify-window=-1")  # compare nanoseconds too
        try:
            self._commands.long_run("rsync", *options, *arguments, checkpoint=self._checkpoint)
        except CommandFailed as error:
            if os.strerror(errno.ENOSPC) in error.stderr or "quota exceeded" in error.stderr:
                raise TargetFull(
                    f"the target is full: rsync: {error.stderr.strip()}",
                    hint="free space in the pool or raise the quota",
                ) from error
            raise


@contextlib.contextmanager
def _named_file(content: bytes) -> Iterator[str]:
    """Give the path of a temporary file with this content; rsync cannot open a memory file."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            file.write(content)
        except OSError as error:
            raise host_exhausted(
                f"cannot create a temporary file: {error.strerror or error}"
            ) from error
        yield file.name
