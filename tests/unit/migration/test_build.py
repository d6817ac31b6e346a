"""What a run may build on when it goes on after a snapshot of an earlier one."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dsgmigd.abilities import Abilities
from dsgmigd.build import Build
from dsgmigd.command import Commands
from dsgmigd.dsg.pushlog import Push
from dsgmigd.errors import StreamCorrupt
from dsgmigd.names import SnapshotName
from dsgmigd.plan import Step
from dsgmigd.progress import Progress
from dsgmigd.report import Report
from dsgmigd.request import VerifyLevel
from dsgmigd.source import HeldSnapshot
from dsgmigd.step import SnapshotWriter
from dsgmigd.verify.findings import Verification
from tests.unit.send_streams import Pieces, stream_bytes

S1, S2 = SnapshotName(1), SnapshotName(2)


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

    made = SimpleNamespace(
        properties={"verified": mark, "source_ctransid": "7"}, created_at=1_400_000_000
    )
    staging = SimpleNamespace(
        made_snapshot=lambda _: made,
        owner_of=lambda _: "pool/SV",
        view=lambda *_: nullcontext("/view"),
    )
    held = HeldSnapshot(S1, "/s1", "uuid", 7, 0.0, is_sendable=True, is_pinned=True)
    Build(
        repository=cast("Any", None),
        held={S1: held},
        staging=cast("Any", staging),
        writer=cast("Any", SimpleNamespace(load=lambda: None, set_borders=list)),
        verifier=cast("Any", SimpleNamespace(verify=verify)),
        level=level,
        report=Report(),
        progress=Progress(),
        nested={},
    ).go_on_after(S1)

    assert asked == [is_trusted]


BEGIN: tuple[int, Pieces] = (1, {15: b"s1", 1: bytes(16)})
END: tuple[int, Pieces] = (21, {})
WHOLE = stream_bytes([BEGIN, (3, {15: b"file"}), END])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (WHOLE[:-11], "stream, offset 53: the stream ends"),
        (WHOLE.replace(b"file", b"fine"), "stream, offset 53: the checksum"),
        (stream_bytes([BEGIN, (3, {15: b"../file"}), END]), "stream, command 2: MKFILE names"),
    ],
    ids=["cut off", "damaged", "leads out"],
)
def test_staging_stays_at_its_last_verified_snapshot_when_a_stream_is_corrupt(
    tmp_path: Path, stream: bytes, words: str
) -> None:
    root = tmp_path / "staging"
    root.mkdir()
    done: list[str] = []
    build = recorded_build(tmp_path, {S1: WHOLE, S2: stream}, done)
    build.take(Step(S1, None, "send"), Push("ana", 0.0, "--"))
    documents = {path: path.read_bytes() for path in (root / ".dsg").rglob("*.json")}

    with pytest.raises(StreamCorrupt, match=words) as raised:
        build.take(Step(S2, S1, "send"), Push("ana", 0.0, "--"))

    assert "stays at its last verified snapshot" in raised.value.hint
    assert done == ["snapshot s1", "verify s1", "mark s1"]
    assert {path: path.read_bytes() for path in (root / ".dsg").rglob("*.json")} == documents
    assert len(documents) == 2


def recorded_build(place: Path, streams: dict[SnapshotName, bytes], done: list[str]) -> Build:
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
        abilities=Abilities(),
        allowed=(),
        send_protocol=1,
        progress=Progress(),
    )
    vars(writer)["_send_command"] = lambda one, _: ["cat", str(place / f"{one.name}.stream")]
    staging = SimpleNamespace(
        places=SimpleNamespace(staging="pool/SV"),
        snapshot=lambda name, _: done.append(f"snapshot {name}"),
        mark_verified=lambda _, name, __: done.append(f"mark {name}"),
        view=lambda *_: nullcontext("/view"),
    )
    return Build(
        repository=cast("Any", SimpleNamespace(snapshot=lambda _: None)),
        held=held,
        staging=cast("Any", staging),
        writer=writer,
        verifier=cast("Any", SimpleNamespace(verify=verify)),
        level="complete",
        report=Report(),
        progress=Progress(),
        nested=dict.fromkeys(streams, frozenset()),
    )
