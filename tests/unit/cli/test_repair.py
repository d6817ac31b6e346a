"""repair-metadata, on a dataset whose metadata is real and whose pool is in memory."""

import json
from pathlib import Path

from tests.unit.cli.commands import run
from tests.unit.fake_zfs import FakeZfs


def damage(root: Path) -> bytes:
    """Change a document, remove one and add one; return what the changed one was."""
    whole = (root / ".dsg/last-sync.json").read_bytes()
    (root / ".dsg/last-sync.json").write_bytes(b"damaged")
    (root / ".dsg/sync-messages.json").unlink()
    (root / ".dsg/extra\x1b[2J").write_text("extra")
    return whole


def test_what_differs_is_restored_and_told(config: Path, published: Path) -> None:
    whole = damage(published)

    result = run(config, "repair-metadata", "SV")

    assert result.exit_code == 0
    assert (published / ".dsg/last-sync.json").read_bytes() == whole
    header, *rows = result.output.splitlines()
    assert header.split() == ["PATH", "DIFFERENCE", "HOW", "DONE"]
    told = {tuple(row.split()[:2]): row for row in rows[:3]}
    assert told[".dsg/last-sync.json", "changed"].endswith("restored, old one kept")
    assert told[".dsg/sync-messages.json", "missing"].endswith("restored")
    assert told[".dsg/extra\\x1b[2J", "extra"].endswith("removed, copy kept")
    assert "the files from before are kept in " in rows[3]
    assert rows[4] == f"{published}/.dsg is as in snapshot s3"


def test_a_dry_run_changes_nothing_and_ends_with_status_3(config: Path, published: Path) -> None:
    damage(published)

    result = run(config, "repair-metadata", "SV", "--dry-run")

    assert result.exit_code == 3
    assert (published / ".dsg/last-sync.json").read_bytes() == b"damaged"
    assert result.output.splitlines()[-1] == f"{published}/.dsg differs from snapshot s3"
    assert "restored" not in result.output


def test_without_damage_both_end_with_status_0_and_no_table(config: Path, published: Path) -> None:
    for more in ([], ["--dry-run"]):
        result = run(config, "repair-metadata", "SV", *more)
        assert result.exit_code == 0
        assert result.output == f"{published}/.dsg is as in snapshot s3\n"


def test_scripts_get_one_object(config: Path, published: Path) -> None:
    damage(published)

    result = run(config, "repair-metadata", "SV", "--dry-run", "--json")

    assert result.exit_code == 3
    document = json.loads(result.output)
    assert (document["repo"], document["dataset"], document["snapshot"]) == ("SV", "zsd/SV", "s3")
    assert document["is_dry_run"] is True
    assert document["kept"] is None
    found = {(one["path"], one["difference"], one["done"]) for one in document["differences"]}
    assert found == {
        (".dsg/last-sync.json", "changed", "-"),
        (".dsg/sync-messages.json", "missing", "-"),
        (".dsg/extra\x1b[2J", "extra", "-"),
    }


def test_a_dataset_without_snapshots_cannot_be_repaired(config: Path, pool: FakeZfs) -> None:
    pool.output("zfs", "create", "zsd/SV")

    result = run(config, "repair-metadata", "SV")

    assert result.exit_code == 1
    assert "no_snapshots" in result.output
