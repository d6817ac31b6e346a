"""Publishes a small tree in the pool in memory, with evidence of its snapshot s1."""

from dataclasses import dataclass
from pathlib import Path

from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Store
from dsgmigd.names import RepoName
from dsgmigd.spool.spool import Spool
from tests.unit.custody.trees_with_evidence import statement_of, table_of
from tests.unit.fake_zfs import FakeZfs

SV = RepoName("SV")


@dataclass
class Published:
    """The dataset zsd/SV with s1, of which there is evidence, and s2, of which there is none."""

    pool: FakeZfs
    spool: Spool
    store: Store
    statement: Statement

    @property
    def snapshot(self) -> Path:
        """Where the files of s1 are."""
        found = self.pool.find("zsd/SV@s1")
        assert found is not None
        return found.files


def publish(pool: FakeZfs, spool: Spool) -> Published:
    pool.output("zfs", "create", "zsd/SV")
    root = pool.mountpoint("zsd/SV")
    (root / ".hidden").write_text("hidden")
    (root / "dir").mkdir()
    (root / "dir/100%").write_text("odd")
    pool.output("zfs", "snapshot", "zsd/SV@s1")
    pool.output("zfs", "snapshot", "zsd/SV@s2")
    guid = pool.output("zfs", "get", "-Hp", "-o", "value", "guid", "zsd/SV@s1").strip()
    with_view = pool.find("zsd/SV@s1")
    assert with_view is not None
    table = table_of(with_view.files)
    statement = statement_of(table, "s1", snapshot_guid=guid)
    store = Store(spool.layout.evidence(SV))
    return Published(pool, spool, store, store.write(statement, table, []))
