"""The checker of invariants sees each of them broken, and nothing where all is well."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.trees import Series, new_series, set_read_only, write, writing
from tests.invariants import Asked, World, observe, violations

PREFIX = "org.hrdag.dsgmigd"


@dataclass
class Scene:
    """One repository migrated once, and a dataset of somebody else's."""

    made: Bed
    series: Series
    world: World
    kept: Path

    def result(self) -> dict[str, Any]:
        return dict(json.loads(self.kept.read_bytes()))

    def rewrite(self, **changes: Any) -> None:
        """Change the result; both of its names are of one file."""
        self.kept.write_text(json.dumps(self.result() | changes))

    def violations(self, asked: Asked | None = None) -> list[str]:
        return violations(self.world, asked or Asked({"SV": 1}))


@pytest.fixture
def scene(fresh_bed: Bed) -> Iterator[Scene]:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    bed.run("zfs", "create", f"{fresh_bed.parent}/CO")
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/CO@s1")
    world = observe(fresh_bed.spool, fresh_bed.source_root, fresh_bed.parent)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    fresh_bed.stop_workers()
    (kept,) = (fresh_bed.spool / ".dsgmigd/results").glob("*.json")
    yield Scene(fresh_bed, series, world, kept)
    for result in (fresh_bed.spool / ".dsgmigd/results").iterdir():
        result.unlink()  # the faults made them what no result is


def begun_twice(scene: Scene) -> None:
    (attempt,) = scene.result()["attempts"]
    scene.rewrite(attempts=[attempt, attempt])


def outlived(scene: Scene) -> None:
    """Who began first still lives."""
    attempts = scene.result()["attempts"]
    worker = scene.made.start_worker(2)
    worker.send_signal(signal.SIGSTOP)  # it would clean up what the next fault leaves
    scene.rewrite(attempts=[{**attempts[0], "pid": worker.pid}, attempts[-1]])


def showing_another(scene: Scene) -> None:
    shown = scene.made.spool / "SV.result.json"
    shown.unlink()
    shown.write_text("{}")


def answered_twice(scene: Scene) -> None:
    shutil.copy(scene.kept, scene.kept.with_name("SV.again.json"))


def overlapping(scene: Scene) -> None:
    again = scene.result() | {"request_id": "again"}
    scene.kept.with_name("SV.again.json").write_text(json.dumps(again))


def unanswered(scene: Scene) -> None:
    scene.kept.unlink()
    scene.kept.with_name("SV.again.json").unlink()


def claimed_and_answered(scene: Scene) -> None:
    shutil.copy(scene.kept, scene.made.spool / "SV.claim.1")


def ledger_of(scene: Scene) -> Path:
    return scene.kept.with_name("ledger.jsonl")


def with_a_changed_line(scene: Scene) -> None:
    ledger = ledger_of(scene)
    ledger.write_bytes(ledger.read_bytes().replace(b'"done"', b'"fine"'))


def without_lines(scene: Scene) -> None:
    ledger_of(scene).write_bytes(b"")


def with_a_part_of_a_line(scene: Scene) -> None:
    ledger_of(scene).write_bytes(b'{"seq": 1')


def with_a_note_in_the_source(scene: Scene) -> None:
    write(scene.series.directory / "note")


def with_a_changed_file_in_the_source(scene: Scene) -> None:
    tree = scene.series.snapshot(1)
    set_read_only(tree, is_read_only=False)
    write(tree / "a", "c")
    set_read_only(tree, is_read_only=True)


def with_a_source_snapshot_made_again(scene: Scene) -> None:
    """The content is the same, the subvolume is another."""
    tree = scene.series.snapshot(2)
    bed.run("btrfs", "subvolume", "snapshot", "-r", tree, tree.with_name("other"))
    set_read_only(tree, is_read_only=False)
    bed.run("btrfs", "subvolume", "delete", tree)
    bed.run("btrfs", "subvolume", "snapshot", "-r", tree.with_name("other"), tree)
    bed.run("btrfs", "subvolume", "delete", tree.with_name("other"))


def with_a_pin(scene: Scene) -> None:
    (scene.made.source_root / ".dsgmigd-pins/SV.id").mkdir(parents=True)


def with_a_foreign_dataset_made_again(scene: Scene) -> None:
    destroying("CO")(scene)
    bed.run("zfs", "create", f"{scene.made.parent}/CO")
    bed.run("zfs", "snapshot", f"{scene.made.parent}/CO@s1")


def with_a_changed_manifest(scene: Scene) -> None:
    path = scene.made.mountpoint / "SV/.dsg/last-sync.json"
    manifest = json.loads(path.read_bytes())
    manifest["entries"]["a"]["user"] = "somebody"
    path.write_text(json.dumps(manifest))


def running(*argv: str) -> Callable[[Scene], object]:
    """Return a fault that is one command; @ stands for the test's parent dataset."""

    def run(scene: Scene) -> None:
        words = [word.replace("@/", f"{scene.made.parent}/") for word in argv]
        bed.run_when_free(*words)

    return run


def destroying(name: str) -> Callable[[Scene], None]:
    return lambda scene: bed.destroy("-r", f"{scene.made.parent}/{name}")


# Each list is done one after the other to one scene.
FAULTS: list[list[tuple[Callable[[Scene], object], str]]] = [
    [
        (with_a_note_in_the_source, "I4 SV/note: was not there"),
        (with_a_changed_file_in_the_source, "I4 SV/s1: was"),
        (with_a_source_snapshot_made_again, "I4 SV/s2: was"),
        (with_a_pin, "I7 SV: the pins SV.id are left"),
        (running("zfs", "create", "@/.dsgmigd/views/SV"), "I7 SV: its dataset in views"),
        (running("zfs", "create", "@/.dsgmigd/staging/SV"), "I7 SV: its dataset in staging"),
        (with_a_foreign_dataset_made_again, "I3 PARENT/CO@s1: was"),
        (running("zfs", "inherit", f"{PREFIX}:verified", "@/SV@s1"), "I2 SV@s1: published, not"),
        (running("zfs", "set", f"{PREFIX}:verified=no", "@/SV@s2"), "I2 SV@s2: published, not"),
        (running("zfs", "set", f"{PREFIX}:snapshot_hash=0", "@/SV@s1"), "I6 SV s1: was"),
        (with_a_changed_manifest, "I6 SV s2: was"),
        (running("zfs", "unmount", "@/SV"), "I6 SV: success, and"),
    ],
    [
        (destroying("CO"), "I3 PARENT/CO: was"),
        (showing_another, "I1 SV: the result shown"),
        (begun_twice, "I5 SV: another attempt followed"),
        (outlived, "I5 SV: process"),
        (claimed_and_answered, "I7 SV: SV.claim.1 is left"),
    ],
    [
        (overlapping, "I5 SV: "),
        (answered_twice, "I1 SV: a request has two results"),
        (unanswered, "I1 SV: 1 requests, 0 results"),
    ],
    [
        (destroying("SV"), "I6 SV: success, and"),
    ],
    [
        (with_a_changed_line, "I9 SV."),
    ],
    [
        (without_lines, "I9 SV."),
        (with_a_part_of_a_line, "I9: the ledger ends"),
    ],
    [
        (lambda scene: scene.rewrite(seconds=1), "I9 line 1: SV."),
    ],
    [
        (lambda scene: scene.rewrite(outcome="failed"), "I2 SV: published, and no result"),
    ],
]


def test_nothing_is_said_of_a_migration_that_went_well(scene: Scene) -> None:
    assert scene.violations() == []
    scene.made.workers.clear()
    scene.made.start_worker(2)
    scene.made.drop("SV")
    assert scene.made.wait_result("SV")["outcome"] == "up_to_date"
    scene.made.stop_workers()
    assert scene.violations(Asked({"SV": 2}, {"SV"})) == []


def test_a_request_that_waits_is_no_violation(scene: Scene) -> None:
    scene.made.drop("SV")
    assert scene.violations(Asked({"SV": 2})) == []


def test_a_repetition_that_did_something_is_seen(scene: Scene) -> None:
    assert scene.violations(Asked({"SV": 1}, {"SV"})) == ["I8 SV: repeated, and the result is done"]


@pytest.mark.parametrize("faults", FAULTS)
def test_a_broken_invariant_is_seen(
    scene: Scene, faults: list[tuple[Callable[[Scene], object], str]]
) -> None:
    for fault, words in faults:
        expected = words.replace("PARENT", scene.made.parent)
        assert not [found for found in scene.violations() if found.startswith(expected)]
        fault(scene)
        found = scene.violations()
        assert any(violation.startswith(expected) for violation in found), (expected, found)
