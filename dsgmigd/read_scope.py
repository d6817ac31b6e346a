"""Read the scope of a snapshot from the file at its root.

No error leaves this module: what cannot be read is a warning of the scope.
"""

import os
import stat

from dsgmigd.dsg.scope import CONFIG_NAME, EVERYTHING, Scope, parse_scope
from dsgmigd.durable import open_safely

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
        return Scope(warning=f"{CONFIG_NAME} is not followed: {error.strerror}")
