"""custody export and custody verify."""

import json
from pathlib import Path

import pytest

from dsgmigd.cli.output import EXIT_FAILED, EXIT_MISMATCH
from dsgmigd.spool.ledger_line import parse_line
from dsgmigd.spool.spool import Spool
from tests.unit.cli.commands import run
from tests.unit.cli.evidence import Published, publish
from tests.unit.fake_zfs import FakeZfs


@pytest.fixture
def made(config: Path, pool: FakeZfs) -> Published:
    spool = Spool(str(config.parent / "spool"))
    spool.prepare()
    return publish(pool, spool)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "bags").mkdir()
    return tmp_path / "bags"


def test_what_has_evidence_is_exported_and_the_rest_is_named(
    config: Path, made: Published, place: Path
) -> None:
    done = run(config, "custody", "export", "SV", "--to", str(place))
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines == [
        f"{place}/SV-s1: 2 files, 9 bytes, not signed",
        "without evidence, so not exported: s2",
    ]
    assert (place / "SV-s1/data/dir/100=25").read_text() == "odd"
    assert [path.name for path in place.iterdir()] == ["SV-s1"]
    acts = [line.document for line in map(parse_line, made.spool.ledger.read()) if line]
    assert [(act["act"], act["outcome"]) for act in acts] == [
        *(("custody export", "begun"), ("custody export", "done")),
    ]
    assert acts[0]["what"] == f"SV to {place}"


def test_export_for_scripts_is_one_object(config: Path, made: Published, place: Path) -> None:
    done = run(config, "custody", "export", "SV@s1", "--to", str(place), "--json")
    assert json.loads(done.output) == {
        "repo": "SV",
        "bags": [
            {
                "bag": f"{place}/SV-s1",
                "snapshot": "s1",
                "root": made.statement.root,
                "files": 2,
                "bytes": 9,
                "is_signed": False,
            }
        ],
        "without_evidence": [],
    }


def test_a_snapshot_without_evidence_is_refused(config: Path, made: Published, place: Path) -> None:
    assert made.store.statements()
    done = run(config, "custody", "export", "SV@s2", "--to", str(place))
    assert done.exit_code == EXIT_FAILED
    assert "there is no evidence of zsd/SV@s2" in done.output


def test_a_snapshot_that_was_made_again_has_not_the_evidence_of_the_old_one(
    config: Path, made: Published, place: Path
) -> None:
    made.pool.output("zfs", "destroy", "zsd/SV@s1")
    made.pool.output("zfs", "snapshot", "zsd/SV@s1")
    done = run(config, "custody", "export", "SV@s1", "--to", str(place))
    assert "there is no evidence of zsd/SV@s1" in done.output


def test_a_file_that_differs_is_named_with_status_4_and_leaves_no_bag(
    config: Path, made: Published, place: Path
) -> None:
    (made.snapshot / ".hidden").write_text("HIDDEN")
    done = run(config, "custody", "export", "SV", "--to", str(place))
    assert done.exit_code == EXIT_MISMATCH
    assert ".hidden: " in done.output
    assert list(place.iterdir()) == []


def test_a_bag_that_exists_is_kept(config: Path, made: Published, place: Path) -> None:
    (place / "SV-s1").mkdir()
    done = run(config, "custody", "export", "SV", "--to", str(place))
    assert (done.exit_code, f"{place}/SV-s1 exists" in done.output) == (EXIT_FAILED, True)
    assert made.store.statements()
