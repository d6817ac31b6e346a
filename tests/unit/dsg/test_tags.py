"""Tags: which there are, what they say, and their bytes."""

import orjson
import pytest

from dsgmigd.dsg.metadata import Metadata
from dsgmigd.dsg.tags import MIGRATOR, TagLink, make_tags, render_tags, split_tags
from dsgmigd.names import SnapshotName

MOMENT = 1399483646.0
WRITTEN = "2014-05-07T10:27:26-07:00"


def link(tag_id: str, number: int = 1, *, user: str = "ana", message: str | None = None) -> TagLink:
    return TagLink(tag_id, SnapshotName(number), user, MOMENT, message)


def metadata_of(*messages: str) -> list[Metadata]:
    return [
        {"snapshot_id": f"s{number}", "snapshot_message": message, "created_by": "bob"}
        for number, message in enumerate(messages, 1)
    ]


def test_a_tag_has_the_links_author_and_time_and_the_snapshots_message() -> None:
    (tag,) = make_tags([link("v1.0")], metadata_of("all of it"))
    assert list(tag.items()) == [
        ("tag_id", "v1.0"),
        ("snapshot_id", "s1"),
        ("tag_message", "all of it"),
        ("created_by", "ana"),
        ("created_at", WRITTEN),
    ]


@pytest.mark.parametrize(
    ("tag_id", "message"),
    [
        ("v1", "m"),
        ("v1.0", "m"),
        ("latest", "m"),
        ("latest-x", "m"),
        ("v2-records-ohchr", "records-ohchr: m"),
        ("v2.1-x", "x: m"),
        ("v1.0.0-a b\n", "a b\n: m"),
        ("v2-", "m"),
        ("vx-y", "m"),
    ],
)
def test_the_text_after_the_version_comes_before_the_message(tag_id: str, message: str) -> None:
    assert make_tags([link(tag_id)], metadata_of("m"))[0]["tag_message"] == message


def test_a_tag_of_a_missing_snapshot_is_left_out() -> None:
    tags = make_tags([link("v1", 1), link("v2", 2), link("v3", 3)], metadata_of("m", "m"))
    assert [tag["tag_id"] for tag in tags] == ["v1", "v2"]


def test_tags_are_in_the_order_of_their_snapshots_and_then_of_their_names() -> None:
    links = [link("b", 2), link("a", 10), link("c", 1), link("a2", 2)]
    tags = make_tags(links, metadata_of(*["m"] * 10))
    assert [tag["tag_id"] for tag in tags] == ["c", "a2", "b", "a"]


def test_only_previous_tags_that_a_migration_made_are_kept_unless_replaced() -> None:
    before = make_tags(
        [link("v1"), link("v2", user=MIGRATOR), link("v3", user=MIGRATOR)], metadata_of("m", "n")
    )
    tags = make_tags([link("v3", 2, user=MIGRATOR, message="moved")], metadata_of("m", "n"), before)
    assert [(tag["tag_id"], tag["tag_message"]) for tag in tags] == [("v2", "m"), ("v3", "moved")]


def test_the_document_has_a_version_and_a_list_in_that_order() -> None:
    tags = make_tags([link("v1"), link("v2")], metadata_of('odd " \u2028 é'))
    document = orjson.loads(render_tags(tags))
    assert list(document.items()) == [("metadata_version", "0.1.0"), ("tags", tags)]
    assert split_tags(render_tags(tags)) == tags


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tags": [1]}',
        b'{"tags": [{"tag_id": "v1"}]}',
        b'{"tags": null}',
        b"\xff",
    ],
)
def test_what_is_no_such_document_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the JSON decoder has words of its own
        split_tags(content)
