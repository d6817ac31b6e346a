"""No result claims more than was checked, whatever happened before.

Random histories of requests, verifications, damage to the target and changes of the source. What
may be claimed is decided here, by comparing the files themselves.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import DsgmigdError, TargetDiffers, TargetExists
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.published_check import PublishedCheck
from dsgmigd.migration.run import Run
from dsgmigd.names import SnapshotName
from dsgmigd.request import VERIFY_LEVELS, VERIFY_STRENGTH, Request, VerifyLevel
from tests.amounts import amount, seed
from tests.unit.migration.migration_world import World, needs_rsync, touch_root

HISTORIES = int(amount("DSGMIGD_CLAIMS"))
STEPS = 10
READS_CONTENTS = {"complete", "exhaustive"}


@dataclass
class Asked:
    """What one run was asked for, and which snapshots were equal to their source at that time."""

    level: VerifyLevel
    equal: frozenset[str]
    is_comparing: bool


@dataclass
class History:
    """A repository whose past is known."""

    world: World
    dice: random.Random
    runs: dict[str, Asked] = field(default_factory=dict)
    count: int = 0
    told: list[str] = field(default_factory=list)

    # What happens.

    def push(self) -> None:
        self.count += 1
        # Letters, so that a change of case changes it.
        self.world.push(self.count, file=f"text of {self.dice.choice('abc')}{self.count}")

    def damage(self) -> None:
        self._change(self.world.damage, self.published())

    def edit(self) -> None:
        def change(name: str) -> None:
            file = self.world.source / name / "file"
            times = file.stat()
            file.write_text(file.read_text()[::-1])  # never what damage makes of it
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            touch_root(file.parent)

        self._change(change, self.sources())

    def migrate(self) -> None:
        level = self.dice.choice([None, *VERIFY_LEVELS])
        replace = self.dice.choice([None, None, True])
        self._run(Migration, Request(verify=level, replace=replace), Migration.run)

    def rebuild(self) -> None:
        first = SnapshotName(self.dice.randint(1, max(self.count, 1)))
        self._run(Migration, Request(rebuild_from=first), Migration.run)

    def verify(self) -> None:
        level = self.dice.choice(VERIFY_LEVELS)
        self._run(PublishedCheck, Request(verify=level), lambda work: work.verify(level=level))

    def check(self) -> None:
        level = self.dice.choice([one for one in VERIFY_LEVELS if one != "changes"])
        self._run(
            *(PublishedCheck, Request(verify=level), lambda work: work.check(level=level)),
            is_comparing=False,
        )

    # What is true.

    def sources(self) -> list[str]:
        return [f"s{number}" for number in range(1, self.count + 1)]

    def published(self) -> list[str]:
        return self.world.snapshots() if "zsd/SV" in self.world.zfs.datasets else []

    def text(self, name: str) -> str:
        (found,) = (one for one in self.world.zfs.datasets["zsd/SV"].snapshots if one.name == name)
        return (found.files / "file").read_text()

    def equal(self) -> frozenset[str]:
        return frozenset(
            name
            for name in self.published()
            if self.text(name) == (self.world.source / name / "file").read_text()
        )

    # What is said.

    def _change(self, change: Callable[[str], object], names: list[str]) -> None:
        if names:
            name = self.dice.choice(names)
            self.told.append(name)
            change(name)

    def _run(
        self,
        kind: type[Any],
        request: Request,
        action: Callable[[Any], object],
        *,
        is_comparing: bool = True,
    ) -> None:
        request_id = f"r{len(self.runs) + 1}"
        work: Run = self.world.work(kind, request, request_id=request_id)
        error: DsgmigdError | None = None
        equal_before, marked_before = self.equal(), self.marked()
        try:
            action(work)
        except DsgmigdError as caught:
            error = caught
        self.told.append(f"{request_id}: {request.to_json()}: {error or work.report.outcome}")
        equal = self.equal()
        self.runs[request_id] = Asked(work.level, equal, is_comparing)
        document = work.report.to_json()
        self._judge_rows(document)
        self._judge_record(document)
        if error is None:
            self._judge_success(document, work)
        elif isinstance(error, TargetDiffers):
            assert marked_before or equal_before < frozenset(self.published()), self.told
        else:
            assert isinstance(error, DsgmigdError)
            assert self.published() == [] or isinstance(error, TargetExists), (error, self.told)

    def marked(self) -> set[str]:
        """Return the snapshots that are marked as different."""
        return {
            name
            for name in self.published()
            if self.world.mark(name, "differs") not in {None, "none"}
        }

    def _judge_rows(self, document: dict[str, Any]) -> None:
        """What a run says that it verified is so."""
        rows = [row for row in document["snapshots"] if row["verification"]]
        assert (document["verified_now"] is None) == (not rows), self.told
        is_against_source = document["source"] is not None
        for row in rows:
            found = row["verification"]
            is_read = found["level"] in READS_CONTENTS and is_against_source
            if is_read and not found["discrepancy_count"] and row["name"] in self.published():
                assert row["name"] in self.equal(), self.told
        levels = [VERIFY_STRENGTH[row["verification"]["level"]] for row in rows]
        if rows:
            assert VERIFY_STRENGTH[document["verified_now"]["level"]] == min(levels)

    def _judge_record(self, document: dict[str, Any]) -> None:
        """What is on record was found by the run that is named there."""
        for one in document["on_record"]:
            said = one["last_verified"]
            if said is None:
                continue
            asked = self.runs[said["request_id"]]
            assert asked.is_comparing, self.told
            if said["level"] in READS_CONTENTS:
                assert one["name"] in asked.equal, self.told
            allowed = max(VERIFY_STRENGTH[asked.level], VERIFY_STRENGTH["complete"])
            assert VERIFY_STRENGTH[said["level"]] <= allowed, self.told

    def _judge_success(self, document: dict[str, Any], work: Run) -> None:
        """Nothing that is known to differ is called up to date or verified."""
        if work.report.outcome not in {"up_to_date", "done"}:
            return
        assert self.published() == self.sources(), self.told
        assert self.marked() == set(), self.told
        if work.report.outcome == "up_to_date":
            last = document["last_verified"]
            assert last is not None, self.told
            assert VERIFY_STRENGTH[last["level"]] >= VERIFY_STRENGTH[work.level], self.told


@needs_rsync
@pytest.mark.sweep
@pytest.mark.parametrize("number", range(HISTORIES))
def test_nothing_is_claimed_that_was_not_checked(tmp_path: Path, number: int) -> None:
    dice = random.Random(f"{seed()} {number}")  # noqa: S311 - repeatable, not secret
    history = History(World(tmp_path), dice)
    happenings = [
        *(history.push, history.damage, history.edit, history.rebuild),
        *(history.migrate, history.migrate, history.verify, history.check),
    ]
    history.push()
    history.migrate()
    for _ in range(STEPS):
        happening = history.dice.choice(happenings)
        history.told.append(happening.__name__)
        happening()
