"""Evidence of a run: in which order what is written, and nothing without being asked."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from dsgmigd.custody.store import Store
from dsgmigd.custody.taker import Taker
from dsgmigd.errors import SpoolFailing
from dsgmigd.migration.evidence import Evidence
from dsgmigd.migration.report import SnapshotRow
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.layout import EVIDENCE, SNAPSHOT_HASH
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.verifier import Changed


class Run:
    """A tree, a store, and what is set on snapshots."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "tree"
        self.root.mkdir()
        (self.root / "a").write_text("1")
        self.store = Store(str(directory / "evidence"))
        self.properties: dict[str, dict[str, str]] = {}
        self.kept_when_set: list[int] = []

    def evidence(self) -> Evidence:
        taker = Taker(self.store, repo="SV", dataset="zsd/SV", request_id="r")
        return Evidence(taker, cast("Any", self))

    def set_property(self, name: str, key: str, value: str) -> None:
        self.kept_when_set.append(len(self.store.statements()))
        self.properties.setdefault(name, {})[key] = value

    def snapshot(self, number: int) -> Snapshot:
        name = f"s{number}"
        properties = {SNAPSHOT_HASH: f"h{number}", **self.properties.get(f"zsd/SV@{name}", {})}
        return Snapshot(name, 10**10, properties, guid=str(number))

    def take(self, evidence: Evidence, number: int, changed: Changed | None = None) -> SnapshotRow:
        take = evidence.taking(1e10)
        assert take is not None
        take(str(self.root), changed, {})
        row = SnapshotRow(f"s{number}", None, is_pinned=False, verification=Verification("changes"))
        evidence.state("zsd/SV", self.snapshot(number), row)
        return row


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_snapshot_names_evidence_that_is_kept_already(run: Run) -> None:
    row = run.take(run.evidence(), 1)
    (statement,) = run.store.statements()
    assert run.properties == {"zsd/SV@s1": {EVIDENCE: statement.root}}
    assert run.kept_when_set == [1]
    assert row.evidence == {"root": statement.root, "entries": 2, "files": 1, "bytes": 1}
    assert (statement.level, statement.snapshot_hash) == ("changes", "h1")


def test_the_next_snapshot_is_one_of_changes(run: Run) -> None:
    evidence = run.evidence()
    run.take(evidence, 1)
    (run.root / "b").write_text("2")
    (run.root / "a").write_text("unseen")
    row = run.take(evidence, 2, Changed({b"b"}, set()))
    assert row.evidence is not None
    assert row.evidence["entries"] == 3
    assert row.evidence["bytes"] == 2  # nobody said that `a` changed


def test_what_has_evidence_is_known_as_such(run: Run) -> None:
    assert not run.evidence().go_on_after(run.snapshot(1))
    run.take(run.evidence(), 1)
    assert run.evidence().go_on_after(run.snapshot(1))
    # It is kept, but the snapshot does not name it: a crash came between.
    run.properties.clear()
    assert not run.evidence().go_on_after(run.snapshot(1))


def test_without_being_asked_nothing_is_taken(run: Run) -> None:
    evidence = Evidence(None, cast("Any", run))
    row = SnapshotRow("s1", None, is_pinned=False, verification=Verification("complete"))
    evidence.state("zsd/SV", run.snapshot(1), row)
    assert evidence.taking(0.0) is None
    assert not evidence.go_on_after(run.snapshot(1))
    assert not evidence.is_wanted
    assert (row.evidence, run.properties) == (None, {})


def test_a_disk_that_fails_is_an_error_of_the_spool(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpoolFailing, match="keeping the evidence"):
        run.take(run.evidence(), 1)
    assert run.properties == {}
