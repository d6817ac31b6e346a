"""Ask the source's own file system what changed in a snapshot: evidence that is not the stream.

Leaving error: OSError, as the kernel gave it.
"""

import stat

from dsgmigd.btrfs.search import Inode, Nested, Search
from dsgmigd.verify.verifier import Changed


def find_changes(path: str, since: int) -> Changed:
    """Return what was written in the btrfs snapshot at `path` in transaction `since` or later.

    A name that went away is a change of its directory, so every changed directory is listed anew.
    """
    changed = Changed()
    with Search(path) as search:
        for item in search.changes(since):
            if isinstance(item, Inode):
                paths = search.paths_of(item.number)
                changed.paths.update(paths)
                if stat.S_ISDIR(item.mode):
                    changed.directories.update(paths)
            elif isinstance(item, Nested):
                changed.paths.add(search.path_in(item.directory, item.name))
    return changed
