r"""Under which names a bag has the files of a snapshot, and the lines about them: pure rules.

Of most paths, byte for byte the same. BagIt cannot write names that are not UTF-8, and its tools
disagree about a few characters: RFC 8493 writes a percent sign as %25 in a manifest, and the
Library of Congress's own bagit does not read it so; nor does it read control characters, and blanks
at the end. So in a bag each byte of these is written as `=HH`, with two upper-case hex digits:

- bytes that are not UTF-8, percent signs, control characters, separators of lines and paragraphs;
- blanks of any kind at the end of a name;
- an equals sign that two upper-case hex digits follow, or that begins a name with `=long-`.

So a name in a bag means one path only. A name that is longer than 255 bytes then is `=long-` and
the SHA-256 of the real name. `names.jsonl` lists every path whose name in the bag is another.

Raises: nothing.
"""

import hashlib
import json
import os
import re
import unicodedata

DATA = b"data/"

_LONGEST_BYTES = 255
_LONG = "=long-"
_SEPARATORS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_LIKE_OURS = re.compile("=(?=[0-9A-F]{2})")
_PLAIN = re.compile(rb"[A-Za-z0-9._/ -]*[A-Za-z0-9._-]")


def name_in_bag(path: bytes) -> bytes:
    """Return the path in the bag, from its directory `data` on, of the file at `path`."""
    if _PLAIN.fullmatch(path) and b" /" not in path and _fits(path):
        return DATA + path  # as almost always
    return DATA + b"/".join(map(_name_of, path.split(b"/")))


def manifest_line(sha256: str, path: bytes) -> bytes:
    """Return the line about a file in `manifest-sha256.txt`."""
    return b"%s  %s\n" % (sha256.encode("ascii"), name_in_bag(path))


def sums_line(sha256: str, path: bytes) -> bytes:
    """Return the line about a file that GNU's sha256sum writes and reads."""
    name = name_in_bag(path)
    escaped = name.replace(b"\\", b"\\\\")
    return b"%s%s  %s\n" % (b"\\" * (name != escaped), sha256.encode("ascii"), escaped)


def names_line(path: bytes) -> bytes:
    """Return the line in `names.jsonl` about a file with another name in the bag; else nothing."""
    name = name_in_bag(path)
    if name == DATA + path:
        return b""
    document = {"path": os.fsdecode(path), "name": name.decode("utf-8")}
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _fits(path: bytes) -> bool:
    return len(path) <= _LONGEST_BYTES  # no name in it can be longer


def _name_of(name: bytes) -> bytes:
    text = name.decode("utf-8", "surrogateescape")
    if text.startswith(_LONG):
        text = "\0" + text[1:]  # which no name has: it stands for this equals sign
    text = _LIKE_OURS.sub("\0", text)
    end = len(text.rstrip())
    written = "".join(
        _escaped(one) if _must_be_escaped(one) or place >= end else one
        for place, one in enumerate(text)
    ).encode("utf-8")
    if len(written) > _LONGEST_BYTES:
        return f"{_LONG}{hashlib.sha256(name).hexdigest()}".encode("ascii")
    return written


def _must_be_escaped(character: str) -> bool:
    return character == "%" or unicodedata.category(character) in _SEPARATORS


def _escaped(character: str) -> str:
    if character == "\0":
        return "=3D"
    return "".join(f"={byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
