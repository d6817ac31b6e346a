"""Check the document tag-messages.json, which a snapshot may have.

Implemented from the format, not from the writer: `dsgmigd.dsg` is not used.

Raises: OSError, if the file system failed. Differences are data.
"""

import json
import os
from collections.abc import Collection
from datetime import datetime
from typing import Any

from dsgmigd.host.file_errors import has_failed, status_of
from dsgmigd.host.regular import DOCUMENT_LIMIT_BYTES, read_regular
from dsgmigd.verification.compare import Discrepancy

TAGS_NAME = "tag-messages.json"

_VERSION = "0.1.0"
_KEYS = ["tag_id", "snapshot_id", "tag_message", "created_by", "created_at"]


def check_tags(directory: str, snapshots: Collection[str]) -> list[Discrepancy]:
    """Return what is wrong with the tags in `.dsg/`; each tag must name one of `snapshots`."""
    path = os.path.join(directory, TAGS_NAME)
    if status_of(path) is None:
        return []
    try:
        document = json.loads(read_regular(path, DOCUMENT_LIMIT_BYTES))
        problem = _problem(document, snapshots)
    except (OSError, ValueError, RecursionError) as error:
        if has_failed(error):
            raise
        problem = f"unreadable: {error!r}"
    return (
        [Discrepancy(".dsg", TAGS_NAME, "a document with tags of these snapshots", problem)]
        if problem
        else []
    )


def _problem(document: Any, snapshots: Collection[str]) -> str | None:
    if not isinstance(document, dict) or list(document) != ["metadata_version", "tags"]:
        return "not a document with metadata_version and tags"
    version, tags = document.values()
    if version != _VERSION or not isinstance(tags, list):
        return f"metadata_version is not {_VERSION}, or tags is not a list"
    for tag in tags:
        if not isinstance(tag, dict) or list(tag) != _KEYS:
            return f"wrong keys: {tag}"
        if not all(isinstance(value, str) and value for value in tag.values()):
            return f"a value is not text, or is empty: {tag}"
        if tag["snapshot_id"] not in snapshots or not _is_zoned(tag["created_at"]):
            return f"unknown snapshot, or a time without time zone: {tag}"
    names = [tag["tag_id"] for tag in tags]
    return None if len(set(names)) == len(names) else f"duplicate tags: {names}"


def _is_zoned(time: str) -> bool:
    return datetime.fromisoformat(time).tzinfo is not None
