"""What a run may build on when it goes on after a snapshot of an earlier one."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dsgmigd.dsg.push_line import Push
from dsgmigd.errors import (
    InterruptedByStop,
    SourceChanged,
    StreamCorrupt,
    TargetFull,
    VerificationFailed,
)
from dsgmigd.host.command import Commands
from dsgmigd.migration import build
from dsgmigd.migration.build import Build, HeldSource
from dsgmigd.migration.evidence import Evidence
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.plan import Step
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source import btrfs_send
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.schedule import SnapshotChecker
from tests.unit.migration.migration_world import (
    AREA,
    Meddling,
    StopAt,
    World,
    needs_rsync,
    touch_root,
)
from tests.unit.send_streams import Pieces, stream_bytes

S1, S2 = SnapshotName(1), SnapshotName(2)
STAGING = f"{AREA}/staging/SV"


@pytest.mark.parametrize(
    ("mark", "level", "is_trusted"),
    [
        ("structure", "complete", False),
        ("complete", "exhaustive", False),
        ("complete", "complete", True),
        ("exhaustive", "complete", True),
        ("of a later version", "structure", False),
    ],
)
def test_a_snapshot_verified_at_a_weaker_level_is_read_before_anything_is_built_on_it(
    mark: str, level: VerifyLevel, *, is_trusted: bool
) -> None:
    asked: list[bool] = []

    def verify(*_: object, is_verified_before: bool, **_options: object) -> Verification:
        asked.append(is_verified_before)
        return Verification(level)

    resumed_build(verify, mark=mark, level=level).resume_after(S1)

    assert asked == [is_trusted]


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ("pool/SV", "dsgmigd rebuild SV --from s1"),
        ("pool/.dsgmigd/staging/SV", "nothing was published"),
    ],
)
def test_a_snapshot_that_nothing_can_be_built_on_says_what_to_do_where_it_is(
    owner: str, words: str
) -> None:
    def verify(*_: object, **_options: object) -> Verification:
        found = Verification("complete")
        found.add([Discrepancy("file", "content", "x", "y")])
        return found

    with pytest.raises(VerificationFailed, match="s1: 1 differences") as caught:
        resumed_build(verify, owner=owner).resume_after(S1)
    assert words in caught.value.hint


def test_a_source_that_changed_since_the_plan_is_not_built_upon() -> None:
    with pytest.raises(SourceChanged, match="s1 of the source changed between planning") as caught:
        resumed_build(lambda: None, version="6").resume_after(S1)
    assert caught.value.hint == "submit again when the source no longer changes"


def resumed_build(
    verify: Callable[..., object],
    *,
    mark: str = "structure",
    level: VerifyLevel = "complete",
    owner: str = "pool/SV",
    version: str = "7",
) -> Build:
    """Return a build that goes on after s1, which has this `mark` and was made from `version`."""
    made = SimpleNamespace(
        properties={"verified": mark, "source_ctransid": version}, created_at=1_400_000_000
    )
    staging = SimpleNamespace(
        layout=SimpleNamespace(target="pool/SV"),
        made_snapshot=lambda _: made,
        owner_of=lambda _: owner,
        view=lambda *_: nullcontext("/view"),
    )
    held = HeldSnapshot(S1, "/s1", "uuid", 7, 0.0, is_sendable=True, is_pinned=True)
    writer = SimpleNamespace(load=lambda: None, set_nested=list, set_linked=dict)
    return Build(
        HeldSource(cast("Any", None), {S1: held}, nested={}),
        staging=cast("Any", staging),
        marks=cast("Any", SimpleNamespace(note=lambda *_: None)),
        writer=cast("Any", writer),
        checker=checker_of(verify, staging, level),
        evidence=Evidence(None, cast("Any", None)),
        report=Report(),
        progress=Progress(),
    )


BEGIN: tuple[int, Pieces] = (1, {15: b"s1", 1: bytes(16), 2: bytes(8)})
END: tuple[int, Pieces] = (21, {})
WHOLE = stream_bytes([BEGIN, (3, {15: b"file"}), END])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (WHOLE[:-11], "stream, offset 65: the stream ends"),
        (WHOLE.replace(b"file", b"fine"), "stream, offset 65: the checksum"),
        (
            stream_bytes([BEGIN, (3, {15: b"../file"}), END]),
            "stream, command 2: MKFILE has the path",
        ),
    ],
    ids=["cut off", "damaged", "leads out"],
)
def test_staging_stays_at_its_last_verified_snapshot_when_a_stream_is_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bytes, words: str
) -> None:
    root = tmp_path / "staging"
    root.mkdir()
    done: list[str] = []
    build = recorded_build(tmp_path, {S1: WHOLE, S2: stream}, done, monkeypatch)
    build.build_snapshot(Step(S1, None, "send"), Push("ana", 0.0, "--"))
    documents = {path: path.read_bytes() for path in (root / ".dsg").rglob("*.json")}

    with pytest.raises(StreamCorrupt, match=words) as raised:
        build.build_snapshot(Step(S2, S1, "send"), Push("ana", 0.0, "--"))

    assert "stays at its last verified snapshot" in raised.value.hint
    assert done == ["snapshot s1", "verify s1", "mark s1"]
    assert {path: path.read_bytes() for path in (root / ".dsg").rglob("*.json")} == documents
    assert len(documents) == 2


def test_a_row_says_how_it_was_sent_and_a_warning_what_was_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "staging").mkdir()
    chattr: tuple[int, Pieces] = (24, {15: b"file", 26: bytes(8)})
    stream = stream_bytes([BEGIN, (3, {15: b"file"}), chattr, END])
    build = recorded_build(tmp_path, {S1: stream}, [], monkeypatch)
    build.build_snapshot(Step(S1, None, "send"), Push("ana", 0.0, "--"))
    assert build._report.snapshots[0].to_json()["send_protocol"] == 1
    assert build._report.warnings == ["s1: chattr flags of 1 files were not copied"]


def recorded_build(
    place: Path,
    streams: dict[SnapshotName, bytes],
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Build:
    """Return a build of snapshots that hold one file; what it does to staging is in `done`."""
    held = {}
    for name, stream in streams.items():
        source = place / str(name)
        source.mkdir()
        (source / "file").touch()
        (place / f"{name}.stream").write_bytes(stream)
        held[name] = HeldSnapshot(
            name, str(source), "uuid", 7, 0.0, is_sendable=True, is_pinned=True
        )

    def verify(_: str, __: str, number: int, *___: object, **____: object) -> Verification:
        done.append(f"verify s{number}")
        return Verification("complete")

    writer = SnapshotWriter(
        str(place / "staging"),
        commands=Commands(),
        capabilities=Capabilities(),
        allowed=(),
        send_protocol=1,
        progress=Progress(),
    )
    monkeypatch.setattr(
        btrfs_send, "send_command", lambda one, *_: ["cat", str(place / f"{one.name}.stream")]
    )
    staging = SimpleNamespace(
        layout=SimpleNamespace(staging="pool/SV"),
        snapshot=lambda name, _: done.append(f"snapshot {name}"),
        mark_verified=lambda name, _: done.append(f"mark {name}"),
        view=lambda *_: nullcontext("/view"),
    )
    return Build(
        HeldSource(
            cast("Any", SimpleNamespace(snapshot=lambda _: None)),
            held,
            nested=dict.fromkeys(streams, frozenset()),
        ),
        staging=cast("Any", staging),
        marks=cast("Any", SimpleNamespace(note=lambda *_: None)),
        writer=writer,
        checker=checker_of(verify, staging, "complete"),
        evidence=Evidence(None, cast("Any", None)),
        report=Report(),
        progress=Progress(),
    )


def checker_of(
    verify: Callable[..., object], staging: SimpleNamespace, level: VerifyLevel
) -> SnapshotChecker:
    """Return what compares snapshots by calling `verify`."""
    verifier = SimpleNamespace(verify=verify, linked=dict)
    return SnapshotChecker(cast("Any", verifier), cast("Any", staging), level)


# Whole builds, on a pool in memory.


@needs_rsync
def test_a_snapshot_that_differs_is_destroyed_so_that_it_is_built_again(world: World) -> None:
    world.push(1, file="one")
    world.push(2, file="two")

    def damage(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("verify", "s2"):
            world.damage("s2", dataset=STAGING)

    with pytest.raises(VerificationFailed, match="s2: 1 differences") as caught:
        world.work(Migration, progress=Meddling(do=damage)).run()
    assert "nothing was published from this run" in caught.value.hint
    assert world.snapshots(STAGING) == ["s1"]
    assert [row.name for row in world.migrate().snapshots] == ["s2"]


@needs_rsync
def test_what_does_not_fit_is_given_back_and_the_space_that_it_needs_is_named(
    world: World,
) -> None:
    world.push(1, file="one")
    world.push(2, file="two")

    def fill(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("copy", "s2"):
            world.zfs.full.add(STAGING)
            world.zfs.available = 77

    with pytest.raises(TargetFull) as caught:
        world.work(Migration, progress=Meddling(do=fill)).run()
    assert re.search(r"; s2 occupies \d+ bytes in the source", caught.value.message)
    assert caught.value.message.endswith(", 77 bytes are free in zsd")
    assert "resumes after the last verified snapshot" in caught.value.hint
    assert (world.zfs.mountpoint(STAGING) / "file").read_text() == "one"
    assert world.level("s1", STAGING) == "complete"


@needs_rsync
def test_a_source_that_changes_while_it_is_read_in_place_is_no_snapshot(world: World) -> None:
    source = world.push(1, file="one")

    def change(step: str, _: str | None) -> None:
        if step == "manifest":
            touch_root(source)

    with pytest.raises(SourceChanged, match="s1 changed while it was read"):
        world.work(Migration, progress=Meddling(do=change)).run()
    assert world.snapshots(STAGING) == []


@needs_rsync
def test_a_row_lists_what_is_excluded_and_the_report_warns_of_refused_names_once(
    world: World,
) -> None:
    for number in (1, 2):
        world.push(number, com1="a name that DSG refuses")
    report = world.migrate()
    assert [row.excluded for row in report.snapshots] == [[".snap"], [".snap"]]
    assert [one for one in report.warnings if "refuses" in one] == [
        "s1: names that DSG's client refuses, 1 in all: 'com1'"
    ]


@needs_rsync
def test_a_scope_that_cannot_be_understood_is_a_warning(world: World) -> None:
    world.push(1, **{".dsgconfig.yml": "- not a mapping"})
    report = world.migrate()
    assert any(one.startswith("s1: ") and ".dsgconfig.yml" in one for one in report.warnings)


# On a host with the kernel's ZFS, a mark may wait for the next snapshot.


def marks_at(world: World, wanted: tuple[str, str], found: list[str | None]) -> Meddling:
    """Return a progress that notes the mark of s1 when a step begins."""

    def look(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == wanted:
            found.append(world.level("s1", STAGING))

    return Meddling(do=look)


@needs_rsync
@pytest.mark.parametrize(("longest", "mark"), [(10.0, None), (0.0, "complete")])
def test_only_what_is_quickly_done_again_is_marked_with_the_next_snapshot(
    native_world: World, monkeypatch: pytest.MonkeyPatch, longest: float, mark: str | None
) -> None:
    monkeypatch.setattr(build, "_REPEATED_SECONDS", longest)
    native_world.push(1, file="one")
    native_world.push(2, file="two")
    found: list[str | None] = []
    native_world.work(Migration, progress=marks_at(native_world, ("copy", "s2"), found)).run()
    assert found == [mark]
    assert [native_world.level(one) for one in ("s1", "s2")] == ["complete"] * 2


@needs_rsync
def test_a_run_that_is_stopped_leaves_no_verified_snapshot_without_its_mark(
    native_world: World,
) -> None:
    native_world.push(1, file="one")
    native_world.push(2, file="two")
    with pytest.raises(InterruptedByStop):
        native_world.work(Migration, progress=StopAt(when="copy", at=2)).run()
    assert native_world.level("s1", STAGING) == "complete"
    assert [row.name for row in native_world.migrate().snapshots] == ["s2"]


@needs_rsync
def test_a_snapshot_whose_mark_was_lost_in_a_crash_is_built_again(native_world: World) -> None:
    native_world.push(1, file="one")
    native_world.push(2, file="two")

    def crash(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("copy", "s2"):
            native_world.zfs.fake_native.core.fails = 9  # nothing is recorded any more
            raise InterruptedByStop

    with pytest.raises(InterruptedByStop):
        native_world.work(Migration, progress=Meddling(do=crash)).run()
    native_world.zfs.fake_native.core.fails = 0
    assert native_world.level("s1", STAGING) is None
    assert [row.name for row in native_world.migrate().snapshots] == ["s1", "s2"]
    assert native_world.published() == "two"


@needs_rsync
def test_a_full_pool_loses_no_mark_that_waits(native_world: World) -> None:
    native_world.push(1, file="one")
    native_world.push(2, file="two")

    def fill(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("copy", "s2"):
            native_world.zfs.full.add(STAGING)

    with pytest.raises(TargetFull):
        native_world.work(Migration, progress=Meddling(do=fill)).run()
    assert native_world.level("s1", STAGING) == "complete"


@needs_rsync
def test_a_later_snapshot_waits_for_one_transaction_and_runs_no_zfs(native_world: World) -> None:
    for number in range(1, 5):
        native_world.push(number, file=str(number))
    native_world.migrate()
    subcommands = [call[1] for call in native_world.zfs.calls if call[0] == "zfs"]
    assert set(subcommands) == {"get", "create", "unmount", "rename", "mount"}
    staged = [one[0] for one in native_world.zfs.fake_native.core.changes]
    assert staged == ["snapshot", *["mark and snapshot"] * 3, "set"]
