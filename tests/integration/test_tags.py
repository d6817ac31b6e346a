"""Tags of the source arrive in the last snapshot of the run that finds them."""

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.trees import Series, new_series, writing

PUSHED = 1_399_483_646


def tag(series: Series, name: str, target: str) -> None:
    link = series.directory / name
    link.symlink_to(target)
    os.utime(link, (PUSHED, PUSHED), follow_symlinks=False)
    os.chown(link, 0, 0, follow_symlinks=False)


def tags_of(made: Bed, snapshot: str) -> list[dict[str, Any]] | None:
    """Return the tags in a snapshot; None if it has no such document."""
    with bed.snapshot_view(f"{made.parent}/SV", snapshot, made.spool.parent / "view") as view:
        path = view / ".dsg/tag-messages.json"
        if not path.exists():
            return None
        document = json.loads(path.read_bytes())
    assert document["metadata_version"] == "0.1.0"
    tags: list[dict[str, Any]] = document["tags"]
    return tags


def names(tags: list[dict[str, Any]] | None) -> dict[str, str]:
    return {one["tag_id"]: one["snapshot_id"] for one in tags or []}


def test_tags_come_into_the_last_snapshot_of_each_run(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="1"), writing(a="2"), writing(a="3"))
    tag(series, "v1", "s1")
    tag(series, "v2-records-ohchr", "s2/")
    tag(series, "v3", "s3")
    (series.directory / "HEAD").symlink_to("s3")

    first = fresh_bed.migrate("SV", "--limit", "2", "--migration-tag", "v2.0.0")
    assert (first["outcome"], first["warnings"]) == ("done", [])
    assert tags_of(fresh_bed, "s1") is None
    *links, own = tags_of(fresh_bed, "s2") or []
    assert links == [
        {
            "tag_id": "v1",
            "snapshot_id": "s1",
            "tag_message": "--",
            "created_by": "root",
            "created_at": "2014-05-07T10:27:26-07:00",
        },
        {
            "tag_id": "v2-records-ohchr",
            "snapshot_id": "s2",
            "tag_message": "records-ohchr: --",
            "created_by": "root",
            "created_at": "2014-05-07T10:27:26-07:00",
        },
    ]
    assert (own["tag_id"], own["snapshot_id"], own["created_by"]) == ("v2.0.0", "s2", "dsgmigd")
    assert abs(time.time() - _moment(own["created_at"])) < 600

    series.push(writing(a="4"))
    (series.directory / "v1").unlink()
    extended = fresh_bed.migrate("SV")
    assert extended["outcome"] == "done"
    assert tags_of(fresh_bed, "s3") == [*links, own], "as the snapshot before left it"
    assert names(tags_of(fresh_bed, "s4")) == {
        "v2-records-ohchr": "s2",
        "v2.0.0": "s2",
        "v3": "s3",
    }
    fresh_bed.dsgmigd("verify", "SV", "--without-source")


def test_without_tags_there_is_no_document_and_the_last_one_to_go_takes_it_away(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="1"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert tags_of(fresh_bed, "s1") is None
    for number in (2, 3):
        series.push(writing(a=str(number)))
        if number == 2:
            tag(series, "v1", "s1")
        else:
            (series.directory / "v1").unlink()
        assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert names(tags_of(fresh_bed, "s2")) == {"v1": "s1"}
    assert tags_of(fresh_bed, "s3") is None


def test_a_new_tag_alone_changes_nothing_and_is_told(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="1"))
    tag(series, "v1", "s1")
    assert fresh_bed.migrate("SV")["warnings"] == []
    tag(series, "v2", "s1")
    again = fresh_bed.migrate("SV")
    assert again["outcome"] == "up_to_date"
    assert again["warnings"] == ["tags that will first be in the next snapshot: v2"]
    assert names(tags_of(fresh_bed, "s1")) == {"v1": "s1"}


def _moment(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: os.truncate(make(path), 2**36)])
def test_what_a_user_put_in_place_of_the_live_tags_holds_nothing_up(
    fresh_bed: Bed, put: Callable[[Path], object]
) -> None:
    """Whoever owns the root of the dataset owns what is in it too."""
    series = new_series(fresh_bed, "SV", writing(a="1"))
    tag(series, "v1", "s1")
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    live = fresh_bed.mountpoint / "SV" / ".dsg" / "tag-messages.json"
    live.unlink()
    put(live)
    again = fresh_bed.migrate("SV")
    assert (again["outcome"], again["warnings"]) == ("up_to_date", [])


def make(path: Path) -> Path:
    path.touch()
    return path
