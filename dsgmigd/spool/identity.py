"""The UUID of a spool: what its instances make outside of it carries it, so that it is theirs.

It is the text of the symbolic link .dsgmigd/identity: a link is made with its text in one step.

Raises: SpoolUnusable, OSError.
"""

import contextlib
import os
import shlex
import uuid

from dsgmigd.errors import SpoolUnusable
from dsgmigd.host.durable import sync_directory
from dsgmigd.names import is_uuid
from dsgmigd.spool.layout import SpoolLayout


def make_identity(layout: SpoolLayout) -> None:
    """Give a spool a UUID unless it has one, and make sure that a crash does not take it away."""
    path = _path(layout)
    with contextlib.suppress(FileExistsError):
        os.symlink(str(uuid.uuid4()), path)
    sync_directory(os.path.dirname(path))


def read_identity(layout: SpoolLayout) -> str:
    """Return the UUID of a spool."""
    path = _path(layout)
    try:
        text = os.readlink(path)
        problem = None if is_uuid(text) else f"its text is {text!a}"
    except OSError as error:
        problem = str(error)
    if problem is not None:
        raise SpoolUnusable(
            f"{path} is not a symbolic link with the UUID of the spool: {problem}",
            hint=f"remove it, and start again: rm -r -- {shlex.quote(path)}",
        )
    return text


def _path(layout: SpoolLayout) -> str:
    return os.path.join(os.path.dirname(layout.locks), "identity")
