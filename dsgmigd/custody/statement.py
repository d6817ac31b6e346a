"""What dsgmigd states about one snapshot: which dataset, which root hash, verified when and how.

A statement is a JSON object in a file of its own, `STEM.json`, and `STEM.json.sig` is its signature
if there is a key. STEM is the snapshot with its guid, so that a snapshot that was built again has
another one.

Raises: ValueError, if a text is no statement.
"""

import json
import re
from dataclasses import asdict, dataclass, fields

from dsgmigd.names import SnapshotName

SCHEMA = 1
STATEMENT_ENDING = ".json"
SIGNATURE_ENDING = ".json.sig"
ENTRIES_ENDING = ".entries.lz4"

_STEM = re.compile(r"s[1-9][0-9]*-[0-9]+")
_GUID = re.compile(r"[0-9]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Statement:
    """One statement.

    `root` is the root hash over `entries` entries, of which `files` are regular files, with
    `size_bytes` in all. `snapshot_guid` is ZFS's, `snapshot_hash` DSG's. The request `request_id`
    compared the snapshot with its source at `level`, and found no difference; that ended at
    `verified_at` (UTC). `host` made the statement with dsgmigd `version`. `base` is the stem of the
    statement whose entries the kept file changes; None if it has all of them.
    """

    repo: str
    dataset: str
    snapshot: str
    snapshot_guid: str
    snapshot_hash: str
    root: str
    entries: int
    files: int
    size_bytes: int
    level: str
    verified_at: str
    request_id: str
    host: str
    version: str
    base: str | None = None
    schema: int = SCHEMA

    @property
    def stem(self) -> str:
        """Return the beginning of the names of its files."""
        return f"{self.snapshot}-{self.snapshot_guid}"

    @property
    def name(self) -> SnapshotName:
        """Return the name of the snapshot."""
        return SnapshotName.parse(self.snapshot)

    def to_bytes(self) -> bytes:
        """Return the content of its file, which is what is signed."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode("ascii")


def parse_statement(content: bytes) -> Statement:
    """Return the statement in the content of a file."""
    try:
        told = json.loads(content)
        statement = Statement(**told)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no statement of evidence: {error}") from error
    if statement.schema != SCHEMA:
        raise ValueError(f"a statement with schema {statement.schema!r}, not {SCHEMA}")
    for one in fields(Statement):
        value = getattr(statement, one.name)
        is_number = one.name in {"entries", "files", "size_bytes", "schema"}
        is_text = isinstance(value, str) or (one.name == "base" and value is None)
        if not (type(value) is int if is_number else is_text):
            raise ValueError(f"a statement with {one.name} {value!r}")
    if not _SHA256.fullmatch(statement.root) or not _GUID.fullmatch(statement.snapshot_guid):
        raise ValueError("a statement without a root hash or without a guid")
    if not SnapshotName.is_valid(statement.snapshot):
        raise ValueError(f"a statement about a snapshot called {statement.snapshot!r}")
    return statement


def is_stem(text: str) -> bool:
    """Say whether files of a statement may begin with `text`."""
    return _STEM.fullmatch(text) is not None
