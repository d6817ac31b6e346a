"""Names that DSG's client refuses when files are added, although it reads them.

They are migrated and listed in the manifest unchanged. To change such a file with the client later,
a user must rename it.

Raises: nothing.
"""

import re
import unicodedata

_PLAIN = re.compile(r"[A-Za-z0-9_.,+=@%(){}\[\]/-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE | re.DOTALL)
_FORBIDDEN = re.compile(r'[<>"|?*]')
_PART_BYTES = 255


def is_refused(path: str) -> bool:
    """Say whether the client refuses a path because of one of its names."""
    # The client takes a backslash as a separator too.
    return any(_is_refused_name(name) for name in path.replace("\\", "/").split("/"))


def _is_refused_name(name: str) -> bool:
    if _RESERVED.fullmatch(name):
        return True
    if _PLAIN.fullmatch(name):
        return len(name) > _PART_BYTES
    return (
        name.startswith("~")
        or name.endswith("~")
        or name != name.strip()
        or len(name.encode()) > _PART_BYTES
        or _FORBIDDEN.search(name) is not None
        or not unicodedata.is_normalized("NFC", name)
        or any(_is_invisible(character) for character in name)
    )


def _is_invisible(character: str) -> bool:
    """Say whether a character is a control or format character, or separates lines."""
    return unicodedata.category(character)[0] == "C" or character in "\u2028\u2029\ufffc"
