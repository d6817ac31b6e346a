"""The records of a snapshot's files and links, and how stale each is.

The record of a file or link is its entry while the manifest is right about it. Otherwise the file
must be read again, and its record has the form of an entry of the type "stale". No document has
such a record. It may say what is still valid: the hash of the content, or all that a new file has,
which was hashed when it was written.

Raises: nothing.
"""

import re
from enum import IntEnum
from typing import NamedTuple

from dsgmigd.dsg.entry import describe

STALE_TYPE = b'{"type":"stale"'
STALE = STALE_TYPE + b"}"
"""The record of what is at a path and must be read; it may be a directory."""

_HASH = STALE_TYPE + b',"hash":"'
_WRITTEN = STALE_TYPE + b',"written":"'
_END = b'"}'
# How a record of a file ends, stale or not; in the texts before it, quotation marks are escaped.
_HASH_AT_END = re.compile(rb',"hash":"([0-9a-f]{16})"}')
_HASH_AT_END_BYTES = len(b',"hash":"0123456789abcdef"}')


class Staleness(IntEnum):
    """How much of an entry must be read again."""

    FRESH = 0
    ATTRIBUTES = 1
    CONTENT = 2


class Written(NamedTuple):
    """What is known of a file that was written whole: hash and size of its content, its time."""

    digest: str
    size: int
    mtime_ns: int

    def record(self) -> bytes:
        """Return the record of a file of which this is known."""
        return b"%b%b %d %d%b" % (_WRITTEN, self.digest.encode(), self.size, self.mtime_ns, _END)


def is_stale(record: bytes) -> bool:
    """Say whether the file must be read again."""
    return record.startswith(STALE_TYPE)


def marked(record: bytes, staleness: Staleness) -> bytes:
    """Return the record of the same file, of which at least this much is stale."""
    digest = None if staleness is Staleness.CONTENT else digest_in(record)
    return STALE if digest is None else _HASH + digest.encode() + _END


def digest_in(record: bytes) -> str | None:
    """Return the hash of the content, if it is valid."""
    if found := _HASH_AT_END.fullmatch(record[-_HASH_AT_END_BYTES:]):
        return found[1].decode()
    return None if is_stale(record) else describe(record).digest


def written_in(record: bytes) -> Written | None:
    """Return what is known of a new file, if that is all that its entry needs."""
    if not record.startswith(_WRITTEN):
        return None
    digest, size, mtime_ns = record[len(_WRITTEN) : -len(_END)].split()
    return Written(digest.decode(), int(size), int(mtime_ns))
