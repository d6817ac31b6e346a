"""What a replay reports to whoever wants to know its changes.

Raises: OSError, as the kernel gave it.
"""

from typing import Protocol

from dsgmigd.host.directories import Directories
from dsgmigd.transfer.open_file import OpenFile
from dsgmigd.transfer.tree import Tree


class ChangeListener(Protocol):
    """Receives every change of a path that stays in the tree, in the order of the stream.

    A path is tracked if the listener will look at it again. What was created, or has changed
    content, has new times too: these are not reported once more while the file is open.
    """

    def created(self, path: bytes) -> None:
        """Record that something other than a directory was created at `path`."""

    def written(self, path: bytes, digest: str, size: int, mtime_ns: int) -> None:
        """Record what the file has that was created at `path`: all of its content was seen.

        `digest` is the hash of that content, `size` its bytes, `mtime_ns` the time that was set.
        Every later change is reported.
        """

    def linked(self, existing: bytes, path: bytes) -> None:
        """Record that `path` was created as a hard link to `existing`."""

    def created_directory(self, path: bytes) -> None:
        """Record that an empty directory was created at `path`."""

    def renamed(self, old: bytes, new: bytes) -> None:
        """Record that `old`, with everything below it, was renamed to `new`."""

    def removed(self, path: bytes) -> None:
        """Record that `path`, with everything below it, was removed."""

    def content_changed(self, path: bytes) -> bool:
        """Record that the content of the file `path` changed; return whether it is tracked."""

    def times_changed(self, path: bytes) -> bool:
        """Record that the times of `path` were set; return whether it is tracked."""

    def link_group_changed(self, inode: int) -> None:
        """Record that a file with several names changed through a name that is not tracked."""

    def appeared(self, path: bytes) -> None:
        """Record that `path`, with everything below it, was copied from the source by rsync."""


class ReportingTree(Tree):
    """A tree that reports to `listener` what happens to the contents and times of its files.

    Consecutive changes of one file are reported as one.
    """

    def __init__(self, directories: Directories, listener: ChangeListener) -> None:
        super().__init__(directories)
        self._listener = listener
        # Of this file, which is open, the listener knows already that its content changed.
        self._changed_path: bytes | None = None

    def rename(self, old: bytes, new: bytes) -> bool:
        """Rename, and report it unless the file is created as `new` only now."""
        is_renamed = super().rename(old, new)
        if is_renamed:
            self._changed_path = None
            self._listener.renamed(old, new)
        return is_renamed

    def file_created(self, path: bytes) -> None:
        """Report a new file, under its first name or the one that it was given at once."""
        self._changed_path = path
        self._listener.created(path)

    def file_finished(self, file: OpenFile) -> None:
        """Report the content of a new file that passed by whole."""
        self._changed_path = None
        if file.content is not None and file.mtime_ns is not None:
            digest = str(file.content.hexdigest())
            self._listener.written(file.path, digest, file.size or 0, file.mtime_ns)

    def report_content(self, path: bytes) -> None:
        """Report that the content of the file `path` was changed."""
        if path != self._changed_path:
            self._changed_path = path
            self._report_link_group(path, is_tracked=self._listener.content_changed(path))

    def report_times(self, path: bytes) -> None:
        """Report that the times of `path` were set."""
        if path != self._changed_path:
            self._report_link_group(path, is_tracked=self._listener.times_changed(path))

    def _report_link_group(self, path: bytes, *, is_tracked: bool) -> None:
        """Report a change by inode number if the listener does not track this name of a file."""
        inode = None if is_tracked else self.link_group(path)
        if inode is not None:
            self._listener.link_group_changed(inode)
