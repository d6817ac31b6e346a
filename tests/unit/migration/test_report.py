"""What a result says of a run, how far it came, and which differences end it."""

import json
from typing import Any

import pytest

from dsgmigd.errors import VerificationFailed
from dsgmigd.migration.plan import Extend, Plan, Step
from dsgmigd.migration.report import Report, SnapshotRow, SourceFacts
from dsgmigd.names import SnapshotName
from dsgmigd.target.publication import TargetFacts
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import CHECKS, Verification

S1, S2 = SnapshotName(1), SnapshotName(2)


def found(*differing: str) -> Verification:
    """Return a verification that found the content of these paths to differ."""
    found = Verification("complete")
    found.add([Discrepancy(path, "content", "x", "y") for path in differing])
    return found


# What is written.


def test_source_target_and_plan_are_written_key_by_key_in_this_order() -> None:
    """Programs read these keys; the order is that of the results of older versions."""
    document = Report(
        source=SourceFacts("/source/SV-norm", 2),
        target=TargetFacts("zsd/SV", "/zsd/SV", "zsd/.dsgmigd/replaced/SV-20260101T000000Z"),
        plan=Plan((S1, S2), Extend(S1), (Step(S2, S1, "send"),), rechecks=(S1,)),
        level="changes",
    ).to_json()
    shown = {key: document[key] for key in ("source", "target", "plan", "verified_now")}
    assert json.dumps(shown) == (
        '{"source": {"directory": "/source/SV-norm", "snapshots": 2}, '
        '"target": {"dataset": "zsd/SV", "mountpoint": "/zsd/SV", '
        '"replaced": "zsd/.dsgmigd/replaced/SV-20260101T000000Z"}, '
        '"plan": {"wanted": 2, "base": "extend s1", "steps": ["s2 by send"], '
        '"rechecks": ["s1"], "verifies": [], "replaces_target": false, "only_in_target": []}, '
        '"verified_now": null}'
    )


def test_a_run_that_ended_before_it_looked_has_empty_objects() -> None:
    document = Report().to_json()
    assert list(document) == [
        *("source", "target", "plan", "verified_now", "last_verified", "on_record"),
        *("snapshots", "checks", "losses", "warnings"),
    ]
    assert (document["source"], document["target"], document["plan"]) == ({}, {}, {})
    none = {"checked": 0, "failed": 0, "reason": "no snapshot was verified"}
    assert document["checks"] == dict.fromkeys(CHECKS, none)


def test_without_a_source_the_result_says_so_with_null() -> None:
    assert Report(has_source=False).to_json()["source"] is None
    assert Report(SourceFacts("/source/SV", 1), has_source=False).to_json()["source"] is None


def row(**facts: Any) -> dict[str, Any]:
    made = SnapshotRow("s1", "send", is_pinned=True)
    for name, value in facts.items():
        setattr(made, name, value)
    return made.to_json()


def test_a_row_has_seconds_to_the_millisecond() -> None:
    written = row(seconds=1.23456, metadata_seconds=0.00049, verify_seconds=2.0006)
    assert written["seconds"] == 1.235
    assert written["metadata_seconds"] == 0.0
    assert written["verify_seconds"] == 2.001


def test_a_row_that_was_not_verified_yet_says_so_with_null() -> None:
    assert row()["verification"] is None
    assert row(verification=found("a"))["verification"]["discrepancy_count"] == 1


def test_checks_are_counted_over_the_rows_that_were_verified() -> None:
    report = Report()
    for verification in (found("a", "b"), found(), None):
        made = SnapshotRow("s1", None, is_pinned=False, verification=verification)
        report.snapshots.append(made)
    assert report.to_json()["checks"]["file_contents"]["failed"] == 2
    assert report.to_json()["checks"]["snapshot_hash"]["checked"] == 2


# Differences, losses, nested subvolumes.


def test_a_difference_ends_the_run_with_the_first_one_and_how_many_there_are() -> None:
    report = Report()
    with pytest.raises(VerificationFailed) as caught:
        report.raise_on_discrepancies(S2, found("a", "b"))
    assert caught.value.message == (
        "s2: 2 differences between source and target, first: a: content is y, expected x"
    )
    assert caught.value.code == "verification_failed"
    assert caught.value.hint == "the result lists them; nothing was published from this run"


def test_after_differences_in_a_published_dataset_the_hint_says_how_to_build_it_again() -> None:
    with pytest.raises(VerificationFailed) as caught:
        Report().raise_on_discrepancies(S1, found("a"), published="zsd/SV")
    assert caught.value.hint == (
        "the result lists them; if the source is right: dsgmigd rebuild SV --from s1"
    )


def test_a_difference_from_its_own_manifests_may_be_the_pools_fault() -> None:
    with pytest.raises(VerificationFailed, match="between its manifests and target") as caught:
        Report(has_source=False).raise_on_discrepancies(S1, found("a"), published="zsd/SV")
    assert caught.value.hint == (
        "the result lists them; check the pool: zpool status -v; if there is still a source: "
        "dsgmigd rebuild SV --from s1"
    )


def losing(*paths: str) -> Verification:
    found = Verification("complete")
    for path in paths:
        found.add_loss("xattr", path)
    return found


def test_losses_are_summed_over_all_snapshots_with_the_first_paths_of_each() -> None:
    report = Report()
    report.raise_on_discrepancies(S1, losing("a", "b"))
    report.raise_on_discrepancies(S2, losing("a", *map(str, range(20))))
    (loss,) = report.to_json()["losses"]
    assert (loss["loss"], loss["count"]) == ("xattr", 23)
    assert loss["examples"] == ["s1/a", "s1/b", "s2/a", *(f"s2/{number}" for number in range(7))]


def test_the_losses_of_a_snapshot_that_differs_are_not_counted() -> None:
    report = Report()
    lost = losing("a")
    lost.add([Discrepancy("b", "content", "x", "y")])
    with pytest.raises(VerificationFailed):
        report.raise_on_discrepancies(S1, lost)
    assert report.to_json()["losses"] == []


def with_nested(*paths: str) -> Verification:
    return Verification("complete", nested_subvolumes=list(paths))


def test_a_nested_subvolume_is_warned_of_once_however_many_snapshots_have_it() -> None:
    report = Report()
    report.raise_on_discrepancies(S1, with_nested("data/old"))
    report.raise_on_discrepancies(S2, with_nested("data/old", "data/new"))
    report.raise_on_discrepancies(SnapshotName(3), with_nested("data/new"))
    assert report.warnings == [
        f"{name}: 1 paths are nested subvolumes or other file systems; "
        f"only an empty directory was created for each: 'data/{path}'"
        for name, path in ((S1, "old"), (S2, "new"))
    ]


def test_of_many_nested_subvolumes_the_first_ones_are_named_and_all_are_counted() -> None:
    report = Report()
    report.raise_on_discrepancies(S1, with_nested(*(f"n{number}" for number in range(9))))
    report.raise_on_discrepancies(S2, with_nested("n8"))
    (warning,) = report.warnings
    assert warning.startswith("s1: 9 paths")
    assert warning.endswith(": 'n0', 'n1', 'n2', 'n3', 'n4'")


def test_a_nested_subvolume_whose_name_is_not_utf_8_can_be_written() -> None:
    report = Report()
    report.raise_on_discrepancies(S1, with_nested("latin-\udce9"))
    assert "latin-" in report.warnings[0]
    json.dumps(report.to_json()).encode()
    report.warnings[0].encode()
