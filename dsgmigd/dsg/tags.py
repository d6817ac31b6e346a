"""The document tag-messages.json: names that users gave to snapshots.

In the source, a tag is a symbolic link next to the snapshots: `v1 -> s3`. A repository without tags
has no such document; DSG's own migration does the same, and DSG's tools read that as no tags.

Raises: ValueError, if bytes are not such a document.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dsgmigd.dsg.entry import local_time, to_json
from dsgmigd.dsg.metadata import MANIFEST_VERSION, Metadata
from dsgmigd.names import SnapshotName

MIGRATOR = "dsgmigd"

# The text after the version describes the tag: v2-records-ohchr.
_DESCRIBED = re.compile(r"v[0-9]+(?:\.[0-9]+)*-(.+)", re.DOTALL)

_KEYS = ("tag_id", "snapshot_id", "tag_message", "created_by", "created_at")

Tag = dict[str, str]


@dataclass(frozen=True)
class TagLink:
    """A name for `snapshot`; without `message`, the tag has the message of the snapshot."""

    tag_id: str
    snapshot: SnapshotName
    user: str
    made_at: float
    message: str | None = None


def make_tags(
    links: Iterable[TagLink], all_metadata: Iterable[Metadata], before: Iterable[Tag] = ()
) -> list[Tag]:
    """Return the tags of the snapshots that `all_metadata` describes, in the order of these.

    Links to other snapshots are left out. Of the tags `before`, those that a migration made are
    kept, because no link in the source describes them.
    """
    messages = {one["snapshot_id"]: one["snapshot_message"] for one in all_metadata}
    tags = {tag["tag_id"]: tag for tag in before if tag["created_by"] == MIGRATOR}
    for link in links:
        snapshot = str(link.snapshot)
        if snapshot in messages:
            message = messages[snapshot] if link.message is None else link.message
            tags[link.tag_id] = _make_tag(link, message)
    return sorted(tags.values(), key=_place)


def _make_tag(link: TagLink, message: str) -> Tag:
    described = _DESCRIBED.fullmatch(link.tag_id)
    return {
        "tag_id": link.tag_id,
        "snapshot_id": str(link.snapshot),
        "tag_message": f"{described[1]}: {message}" if described else message,
        "created_by": link.user,
        "created_at": local_time(link.made_at),
    }


def _place(tag: Tag) -> tuple[SnapshotName, str]:
    return SnapshotName.parse(tag["snapshot_id"]), tag["tag_id"]


def render_tags(tags: Iterable[Tag]) -> bytes:
    """Return the bytes of tag-messages.json, with one tag per line."""
    lines = b",\n".join(to_json(tag) for tag in tags)
    return b'{"metadata_version":' + to_json(MANIFEST_VERSION) + b',"tags":[\n' + lines + b"\n]}\n"


def split_tags(content: bytes) -> list[Tag]:
    """Return the tags in a tag-messages.json; ValueError if it is not such a document."""
    document = json.loads(content)
    try:
        return [{key: str(tag[key]) for key in _KEYS} for tag in document["tags"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no tags in the document: {error!r}") from error
