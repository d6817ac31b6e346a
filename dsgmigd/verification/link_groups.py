"""Hard links: names that are one file in the source must be one file in the target, and only they.

Raises: nothing. Differences are data.
"""

import os

from dsgmigd.verification.compare import Discrepancy, printable

_ATTRIBUTE = "hard links"


class LinkGroups:
    """The files with several names that one walk has met, by their inode numbers.

    `noted` gets the inode numbers in the target by the paths.
    """

    def __init__(self, noted: dict[str, int]) -> None:
        self._noted = noted
        self._target_of: dict[int, int] = {}
        # The inode in the source, and the first path.
        self._first_of: dict[int, tuple[int, str]] = {}

    def compare(
        self, path: str, source: os.stat_result, target: os.stat_result
    ) -> list[Discrepancy]:
        """Return where `path` and an earlier path are one file on one side only."""
        if source.st_nlink == target.st_nlink == 1:
            return []
        self._noted[path] = target.st_ino
        found = []
        known = self._target_of.setdefault(source.st_ino, target.st_ino)
        if known != target.st_ino:
            other = self._first_of[known][1]
            found.append(_differ(path, f"the same file as {other} in the source", "another file"))
        first, other = self._first_of.setdefault(target.st_ino, (source.st_ino, printable(path)))
        if first != source.st_ino:
            found.append(_differ(path, "another file in the source", f"the same file as {other}"))
        return found


def _differ(path: str, source: str, target: str) -> Discrepancy:
    return Discrepancy(printable(path), _ATTRIBUTE, source, target)
