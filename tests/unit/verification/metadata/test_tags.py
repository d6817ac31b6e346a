"""The check of tag-messages.json: what is right, and every way to be wrong."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from dsgmigd.verification.metadata.documents import Documents
from dsgmigd.verification.metadata.tags import check_tags
from tests.unit.verification.metadata.dsg_documents import write_documents

TAG = {
    "tag_id": "v1",
    "snapshot_id": "s1",
    "tag_message": "m",
    "created_by": "ana",
    "created_at": "2014-05-07T10:27:26-07:00",
}


def document() -> dict[str, Any]:
    return {"metadata_version": "0.1.0", "tags": [dict(TAG), {**TAG, "tag_id": "v2"}]}


def check(directory: Path, content: bytes) -> list[str]:
    (directory / "tag-messages.json").write_bytes(content)
    return [one.attribute for one in check_tags(str(directory), ["s1", "s2"])]


@pytest.mark.parametrize("tags", [document(), {"metadata_version": "0.1.0", "tags": []}])
def test_a_right_document_has_no_discrepancy(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert check(tmp_path, orjson.dumps(tags)) == []


def test_no_document_at_all_is_right(tmp_path: Path) -> None:
    assert check_tags(str(tmp_path), ["s1"]) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tags: tags.update(metadata_version="0.2.0"),
        lambda tags: tags.update(more=1),
        lambda tags: tags.update(tags={}),
        lambda tags: tags.pop("tags"),
        lambda tags: tags["tags"].append("v3"),
        lambda tags: tags["tags"][0].update(tag_id="v2"),
        lambda tags: tags["tags"][0].update(snapshot_id="s3"),
        lambda tags: tags["tags"][0].update(snapshot_id=1),
        lambda tags: tags["tags"][0].update(tag_message=""),
        lambda tags: tags["tags"][0].update(created_at="yesterday"),
        lambda tags: tags["tags"][0].update(created_at="2014-05-07T10:27:26"),
        lambda tags: tags["tags"][0].update(more="x"),
        lambda tags: tags["tags"][0].pop("created_by"),
        lambda tags: tags["tags"][0].update(tag_id=tags["tags"][0].pop("tag_id")),
    ],
)
def test_everything_else_in_the_document_is_a_discrepancy(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object]
) -> None:
    tags = document()
    spoil(tags)
    assert check(tmp_path, orjson.dumps(tags)) == ["tag-messages.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_a_discrepancy(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path, content) == ["tag-messages.json"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("other", path)])
def test_anything_but_a_file_is_a_discrepancy(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "tag-messages.json")
    assert len(check_tags(str(tmp_path), ["s1"])) == 1


def test_tags_may_be_of_the_snapshots_so_far_and_of_no_later_one(tmp_path: Path) -> None:
    write_documents(tmp_path, 2)
    for name, count in (("s2", 0), ("s3", 1)):
        tags = {"metadata_version": "0.1.0", "tags": [{**TAG, "snapshot_id": name}]}
        (tmp_path / ".dsg/tag-messages.json").write_bytes(orjson.dumps(tags))
        assert len(Documents().read(str(tmp_path), 2).discrepancies) == count
