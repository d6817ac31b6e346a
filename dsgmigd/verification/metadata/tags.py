"""Check the document tag-messages.json, which a snapshot may have.

Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used here.

Leaving error: OSError, where the file system failed. Differences are data.
"""

import json
import os
from collections.abc import Collection
from datetime import datetime
from typing import Any

from dsgmigd.durable import open_safely
from dsgmigd.file_errors import has_failed, status_of
from dsgmigd.verify.compare import Discrepancy

TAGS_NAME = "tag-messages.json"

_VERSION = "0.1.0"
_KEYS = ["tag_id", "snapshot_id", "tag_message", "created_by", "created_at"]


def check_tags(directory: str, snapshots: Collection[str]) -> list[Discrepancy]:
    """Return what is wrong with the tags in `.dsg/`, all of which have to be of `snapshots`."""
    path = os.path.join(directory, TAGS_NAME)
    if status_of(path) is None:
        return []
    try:
        with open(path, "rb", opener=open_safely) as file:
            document = json.loads(file.read())
        problem = _problem(document, snapshots)
    except (OSError, ValueError, RecursionError) as error:
        if has_failed(error):
            raise
        problem = repr(error)
    return [Discrepancy(".dsg", TAGS_NAME, "tags of its snapshots", problem)] if problem else []


def _problem(document: Any, snapshots: Collection[str]) -> str | None:
    if not isinstance(document, dict) or list(document) != ["metadata_version", "tags"]:
        return "another document"
    version, tags = document.values()
    if version != _VERSION or not isinstance(tags, list):
        return "another version, or no list"
    for tag in tags:
        if not isinstance(tag, dict) or list(tag) != _KEYS:
            return f"other keys: {tag}"
        if not all(isinstance(value, str) and value for value in tag.values()):
            return f"no text: {tag}"
        if tag["snapshot_id"] not in snapshots or not _is_zoned(tag["created_at"]):
            return f"no snapshot, or no time: {tag}"
    names = [tag["tag_id"] for tag in tags]
    return None if len(set(names)) == len(names) else f"one tag twice: {names}"


def _is_zoned(time: str) -> bool:
    return datetime.fromisoformat(time).tzinfo is not None
