"""Which published snapshots have evidence."""

from pathlib import Path

import pytest

from dsgmigd.errors import EvidenceMissing, TargetMissing
from dsgmigd.maintenance.evidenced import find_evidenced
from dsgmigd.names import DatasetName, SnapshotName
from dsgmigd.spool.spool import Spool
from dsgmigd.target.layout import DatasetLayout
from tests.unit.cli.evidence import SV, publish
from tests.unit.fake_zfs import FakeZfs

LAYOUT = DatasetLayout(DatasetName("zsd"), "zsd/.dsgmigd", SV)


def test_snapshots_are_found_by_their_guids_and_can_be_read(tmp_path: Path) -> None:
    pool = FakeZfs(tmp_path)
    made = publish(pool, Spool(str(tmp_path / "spool")))
    found = find_evidenced(pool, LAYOUT, made.store, None)
    assert (found.statements, found.without) == ((made.statement,), (SnapshotName(2),))
    with found.view(made.statement) as root:
        assert (Path(root) / ".hidden").read_text() == "hidden"
    one = find_evidenced(pool, LAYOUT, made.store, SnapshotName(1))
    assert (one.statements, one.without) == ((made.statement,), ())
    with pytest.raises(EvidenceMissing, match="zsd/SV@s2"):
        find_evidenced(pool, LAYOUT, made.store, SnapshotName(2))
    with pytest.raises(TargetMissing):
        find_evidenced(pool, LAYOUT, made.store, SnapshotName(3))
