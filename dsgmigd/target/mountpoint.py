"""What is at the path at which a dataset is going to be mounted.

OpenZFS mounts over whatever is there, and through a symbolic link: files that users see would be
hidden, or the dataset would be mounted where nobody looks for it.

Raises: those of dsgmigd.host.file_errors.
"""

import os
import stat

from dsgmigd.host.file_errors import target_errors

_NAMES_SHOWN = 5


def find_obstacle(path: str) -> str | None:
    """Return in words what a mount at `path` would hide or follow; None if there is nothing."""
    with target_errors(f"looking at {path}"):
        try:
            return _describe(path)
        except FileNotFoundError:
            return None


def _describe(path: str) -> str | None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a symbolic link to {os.readlink(path)!a}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a directory"
    if status.st_dev != os.stat(os.path.dirname(path)).st_dev:
        return f"another file system is mounted at {path}"
    names = sorted(os.listdir(path))
    if not names:
        return None
    shown = ", ".join(f"{name!a}" for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{path} has {shown}" + (f" and {more} more" if more > 0 else "") + " in it"
