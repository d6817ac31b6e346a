"""Evidence of published snapshots, against what sha256sum and the file system say of the source."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.custody.entry import Entry, parse_line
from dsgmigd.custody.store import Store
from dsgmigd.custody.table import Table
from tests.integration.conftest import Bed, write_config
from tests.integration.trees import (
    EXCLUDED,
    Series,
    all_of,
    linking,
    moving,
    new_series,
    removing,
    writing,
)

ON = '[custody]\nevidence = "sha256"\n'


def store_of(made: Bed) -> Store:
    return Store(str(made.spool / ".dsgmigd/evidence/SV"))


def evidence_of(made: Bed, snapshot: str) -> Table:
    (statement,) = (one for one in store_of(made).statements() if one.snapshot == snapshot)
    return store_of(made).load(statement)


def entries_of(made: Bed, snapshot: str) -> dict[str, Entry]:
    """Return the entries of a snapshot, but for what dsgmigd itself wrote."""
    entries = (parse_line(row.line) for row in evidence_of(made, snapshot).rows())
    found = {os.fsdecode(entry.path): entry for entry in entries}
    return {path: entry for path, entry in found.items() if not path.startswith(".dsg")}


def sha256sums(tree: Path) -> dict[str, str]:
    """Return what sha256sum says of every regular file that is migrated."""
    found = {}
    for top, directories, files in os.walk(tree):
        if Path(top) == tree:
            directories[:] = [one for one in directories if one not in EXCLUDED]
        for name in files:
            path = Path(top, name)
            if Path(top) == tree and name in EXCLUDED:
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                words = bed.run("sha256sum", "--zero", path).split()
                found[str(path.relative_to(tree))] = words[0]
    return found


def assert_is_evidence(made: Bed, series: Series, snapshots: list[dict[str, Any]]) -> None:
    for number in range(1, series.count + 1):
        entries = entries_of(made, f"s{number}")
        tree = series.snapshot(number)
        sums = {path: entry.sha256 for path, entry in entries.items() if entry.sha256}
        assert sums == sha256sums(tree)
        for path, entry in entries.items():
            status = (tree / path).lstat()
            is_same = (entry.mode, entry.uid) == (stat.S_IMODE(status.st_mode), status.st_uid)
            assert is_same, path
            assert entry.links in {None, status.st_nlink}
    for row in snapshots:
        table = evidence_of(made, row["name"])
        name = f"{made.parent}/SV@{row['name']}"
        root = bed.run("zfs", "get", "-H", "-o", "value", "org.hrdag.dsgmigd:evidence", name)
        counts = {"entries": len(table), "files": table.files, "bytes": table.size}
        assert row["evidence"] == {"root": root.strip(), **counts}
        assert table.root() == root.strip()


@pytest.mark.parametrize("level", ["complete", "changes"])
def test_evidence_is_what_the_source_has(fresh_bed: Bed, tmp_path: Path, level: str) -> None:
    write_config(fresh_bed, f'{ON}[verify]\nlevel = "{level}"\n')
    first = all_of(
        writing(**{"a": "1", ".hidden/b": "2", "d/e/f": "3"}),
        lambda tree: os.symlink("nowhere", tree / "link"),
        lambda tree: (tree / "d").chmod(0o2750),
    )
    series = new_series(fresh_bed, "SV", first, writing(a="11", n="4"), moving("d", "g"))
    result = fresh_bed.migrate("SV")
    assert_is_evidence(fresh_bed, series, result["snapshots"])
    # An extension goes on where the last run ended.
    for edit in (removing("n"), linking("a", "g/a"), lambda tree: (tree / "a").chmod(0o600)):
        series.push(edit)
    result = fresh_bed.migrate("SV")
    assert len(result["snapshots"]) == 3
    assert_is_evidence(fresh_bed, series, result["snapshots"])
    bases = [one.base for one in store_of(fresh_bed).statements()]
    assert [base is None for base in bases] == [True, False, False, False, False, False]
    assert entries_of(fresh_bed, "s1")["link"].target == b"nowhere"
    # Each file is compared with its entry, dsgmigd's own among them.
    told = fresh_bed.dsgmigd("custody", "export", "SV", "--to", str(tmp_path), "--json").stdout
    bags = [Path(row["bag"]) for row in json.loads(told)["bags"]]
    assert [one.name for one in bags] == [f"SV-s{number}" for number in range(1, 7)]
    for one in bags:
        for sums in ("sha256sums.txt", "tagmanifest-sha256.txt"):
            subprocess.run(("sha256sum", "--quiet", "--strict", "-c", sums), cwd=one, check=True)


def test_without_being_asked_nothing_is_taken(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="1"))
    result = fresh_bed.migrate("SV")
    assert result["snapshots"][0]["evidence"] is None
    assert store_of(fresh_bed).statements() == []


def test_a_request_may_ask_for_it_later(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="1"), writing(a="2"))
    fresh_bed.migrate("SV")
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV", {"verify_only": True, "evidence": "sha256"})
    result = fresh_bed.wait_result("SV")
    assert result["outcome"] == "verified"
    assert_is_evidence(fresh_bed, series, result["snapshots"])
    # What has evidence already is not taken again.
    write_config(fresh_bed, ON)
    again = fresh_bed.verified("SV")
    assert [row["evidence"] for row in again["snapshots"]] == [None, None]
    assert len(store_of(fresh_bed).statements()) == 2


def test_what_was_replaced_keeps_its_evidence(fresh_bed: Bed) -> None:
    write_config(fresh_bed, ON)
    series = new_series(fresh_bed, "SV", writing(a="1"), writing(a="2"))
    fresh_bed.migrate("SV")
    done = fresh_bed.dsgmigd("rebuild", "SV", "--from", "s2", "--json")
    (row,) = json.loads(done.stdout)["snapshots"]
    statements = store_of(fresh_bed).statements()
    assert [one.snapshot for one in statements] == ["s1", "s2", "s2"]
    assert statements[-1].root == row["evidence"]["root"]
    assert len({one.snapshot_guid for one in statements}) == 3
    assert {one.base for one in statements[1:]} == {statements[0].stem}
    assert sha256sums(series.snapshot(2))["a"]


def test_statements_are_signed_with_the_key_of_the_configuration(
    fresh_bed: Bed, tmp_path: Path
) -> None:
    key, signers = tmp_path / "key", tmp_path / "signers"
    write_config(fresh_bed, f"{ON}signing_key = {json.dumps(str(key))}\n")
    new_series(fresh_bed, "SV", writing(a="1"))
    refused = fresh_bed.migrate("SV")
    assert refused["error"]["code"] == "signing_failed"
    assert f"ssh-keygen -t ed25519 -N '' -f {key}" in refused["error"]["hint"]
    bed.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signers.write_text(f"dsgmigd {key.with_suffix('.pub').read_text()}")
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    (statement,) = store_of(fresh_bed).statements()
    path = Path(store_of(fresh_bed).directory) / f"{statement.stem}.json"
    verify = ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "dsgmigd", "-n", "dsgmigd")
    with path.open("rb") as file:
        subprocess.run((*verify, "-s", f"{path}.sig"), stdin=file, check=True)
    with path.with_suffix(".entries.lz4").open("rb") as file:
        assert subprocess.run((*verify, "-s", f"{path}.sig"), stdin=file, check=False).returncode


def test_evidence_that_is_damaged_is_taken_anew(fresh_bed: Bed) -> None:
    write_config(fresh_bed, ON)
    series = new_series(fresh_bed, "SV", writing(a="1", b="2"))
    fresh_bed.migrate("SV")
    (statement,) = store_of(fresh_bed).statements()
    path = Path(store_of(fresh_bed).directory) / f"{statement.stem}.entries.lz4"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    series.push(writing(a="3"))
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done"
    assert any("begins anew" in warning for warning in result["warnings"])
    path.write_bytes(content)
    assert_is_evidence(fresh_bed, series, result["snapshots"])
