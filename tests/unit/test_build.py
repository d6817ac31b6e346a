"""What a run may build on when it goes on after a snapshot of an earlier one."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dsgmigd.build import Build
from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.report import Report
from dsgmigd.request import VerifyLevel
from dsgmigd.source import HeldSnapshot
from dsgmigd.verify.findings import Verification

S1 = SnapshotName(1)


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

    def verify(*_: object, is_verified_before: bool, changed: object) -> Verification:
        assert changed is None
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
