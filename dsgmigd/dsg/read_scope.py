"""Read the scope of a snapshot from the file at its root; the rules are in `scope`.

A path that is not a file, or is not a valid config, is a warning in the scope.

Raises: OSError, if the file system failed.
"""

import os

from dsgmigd.dsg.scope import CONFIG_LIMIT_BYTES, CONFIG_NAME, EVERYTHING, Scope, parse_scope
from dsgmigd.host.file_errors import has_failed
from dsgmigd.host.regular import Unfit, read_regular


def read_scope(root: str) -> Scope:
    """Return the scope of the snapshot below `root`; `EVERYTHING` if it has no config."""
    path = os.path.join(root, CONFIG_NAME)
    try:
        return parse_scope(read_regular(path, CONFIG_LIMIT_BYTES))
    except Unfit as error:
        return Scope(warning=f"{CONFIG_NAME} is ignored: {error.strerror}")
    except FileNotFoundError:
        return EVERYTHING
    except OSError as error:
        if has_failed(error):
            raise
        return Scope(warning=f"{CONFIG_NAME} is ignored: {error.strerror}")
