"""What is in a bag (BagIt 1.0, RFC 8493) beside the files: pure rules.

bagit.txt               what BagIt asks for
bag-info.txt            of which snapshot it is, and how much
manifest-sha256.txt     the files, with BagIt's names
entries.jsonl           an entry for every path (see `entry`); its SHA-256 is the root hash
statement.json          the statement about the snapshot
statement.json.sig      its signature, if there is one
sha256sums.txt          the files, as sha256sum writes them
names.jsonl             which path a file has whose name in the bag is another
tagmanifest-sha256.txt  all of these
data/                   the files, and nothing else
"""

from dsgmigd.custody.statement import Statement

BAGIT = "bagit.txt"
INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
ENTRIES = "entries.jsonl"
STATEMENT = "statement.json"
SIGNATURE = "statement.json.sig"
SUMS = "sha256sums.txt"
NAMES = "names.jsonl"
TAG_MANIFEST = "tagmanifest-sha256.txt"
PAYLOAD = "data"

DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
NEEDED = (BAGIT, INFO, MANIFEST, ENTRIES, STATEMENT, SUMS, NAMES)
"""The tag files that every bag has, beside the manifest of tags."""


def bag_name(statement: Statement) -> str:
    """Return the name of the directory of a bag."""
    return f"{statement.repo}-{statement.snapshot}"


def oxum_line(statement: Statement) -> str:
    """Return the line that says how many bytes and files are in data/."""
    return f"Payload-Oxum: {statement.size_bytes}.{statement.files}"


def bag_info(statement: Statement, *, at: str, version: str) -> bytes:
    """Return bag-info.txt of a bag that dsgmigd `version` makes `at` a date."""
    lines = (
        f"External-Identifier: {statement.dataset}@{statement.snapshot}",
        f"External-Description: a ZFS snapshot; {ENTRIES} has every path and attribute",
        f"Bagging-Date: {at}",
        f"Bag-Software-Agent: dsgmigd {version}",
        oxum_line(statement),
        f"Evidence-Root-SHA256: {statement.root}",
        f"ZFS-Snapshot-Guid: {statement.snapshot_guid}",
    )
    return "".join(f"{line}\n" for line in lines).encode("ascii")
