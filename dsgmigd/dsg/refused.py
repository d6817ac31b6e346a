"""Names that DSG's client refuses to take when people add files, though it reads them.

They are migrated and listed in the manifest as they are; whoever works on them with the client
later will have to rename them.
"""

import re
import unicodedata

_PLAIN = re.compile(r"[A-Za-z0-9_.,+=@%(){}\[\]/-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE | re.DOTALL)
_FORBIDDEN = re.compile(r'[<>"|?*]')
_PART_BYTES = 255


def is_refused(path: str) -> bool:
    """Say whether the client refuses a path: one of its parts, each of which is a name."""
    # To the client a backslash parts names too.
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
    """Say whether a character is a control, a format, or a separator of lines."""
    return unicodedata.category(character)[0] == "C" or character in "\u2028\u2029\ufffc"
