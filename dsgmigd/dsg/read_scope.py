"""Read the scope of a snapshot from the file at its root.

What is no file, or no config, is a warning of the scope. Leaving error: OSError, where the file
system failed.
"""

import os
import stat

from dsgmigd.dsg.scope import CONFIG_NAME, EVERYTHING, Scope, parse_scope
from dsgmigd.durable import open_safely
from dsgmigd.file_errors import has_failed

_LIMIT_BYTES = 1024 * 1024


def read_scope(root: str) -> Scope:
    """Return the scope of the snapshot below `root`; everything if it has no config."""
    path = os.path.join(root, CONFIG_NAME)
    try:
        with open(path, "rb", opener=open_safely) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT_BYTES:
                return Scope(warning=f"{CONFIG_NAME} is not followed: it is no file, or too large")
            return parse_scope(file.read())
    except FileNotFoundError:
        return EVERYTHING
    except OSError as error:
        if has_failed(error):
            raise
        return Scope(warning=f"{CONFIG_NAME} is not followed: {error.strerror}")
