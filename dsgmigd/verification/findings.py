"""What was checked, by the names that people know, and how often it failed: pure rules.

`file_transfer`, `file_contents`, `manifests_exist` and `push_log_data` are about a snapshot as a
whole; the others each are about one thing in its metadata.
"""

from dsgmigd.verify.compare import Discrepancy

DOCUMENT_CHECKS = (
    *("manifests_exist", "push_log_data", "metadata_version", "manifest_entries", "entry_count"),
    *("entries_hash", "sync_messages", "snapshot_chain", "snapshot_hash", "archives"),
)
CHECKS = ("file_transfer", "file_contents", *DOCUMENT_CHECKS)

_BY_ATTRIBUTE = {
    "content": "file_contents",
    "manifest": "manifest_entries",
    "manifest entry": "manifest_entries",
    "manifest reference": "manifest_entries",
}
_BY_ATTRIBUTE_OF_DOCUMENTS = {
    "metadata_version": "metadata_version",
    "entry_count": "entry_count",
    "entries_hash": "entries_hash",
    "sync-messages.json": "sync_messages",
    "snapshot_hash": "snapshot_hash",
    "created_by": "push_log_data",
    "created_at": "push_log_data",
    "snapshot_message": "push_log_data",
}


def check_of(found: Discrepancy) -> str:
    """Return which check a discrepancy fails."""
    if found.path == ".dsg/archive":
        return "archives"
    if found.path != ".dsg":
        return _BY_ATTRIBUTE.get(found.attribute, "file_transfer")
    if found.attribute.startswith("chain "):
        return "snapshot_chain"
    if found.attribute.startswith("metadata "):  # … of a snapshot in sync-messages.json
        return "sync_messages"
    return _BY_ATTRIBUTE_OF_DOCUMENTS.get(found.attribute, "manifests_exist")
