"""Kept evidence: what is written is read again, and what was not written is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.custody import store as store_module
from dsgmigd.custody.entry import Entry
from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Store
from dsgmigd.custody.table import Edit, Row, Table, at, whole
from dsgmigd.errors import EvidenceDamaged


def row_of(path: bytes, sha256: str) -> Row:
    entry = Entry(path, "file", 0o644, 0, 0, 5, links=1, size=3, sha256=sha256 * 64)
    return Row(path, entry.line(), 7, 8, 3)


def statement_of(table: Table, number: int, base: Statement | None = None) -> Statement:
    return Statement(
        repo="SV",
        dataset="zsd/SV",
        snapshot=f"s{number}",
        snapshot_guid=str(100 + number),
        snapshot_hash="ab",
        root=table.root(),
        entries=len(table),
        files=table.files,
        size_bytes=table.size,
        level="complete",
        verified_at=f"2026-01-{number:02}T00:00:00Z",
        request_id="r",
        host="h",
        version="1",
        base=base.stem if base else None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "SV"))


def write_series(store: Store, count: int) -> list[tuple[Statement, Table]]:
    """Write `count` snapshots: each changes one file and adds one with a name that is no UTF-8."""
    table = Table().changed(whole(row_of(b"f%04d" % n, "a") for n in range(2500)))
    written = [(store.write(statement_of(table, 1), table, []), table)]
    for number in range(2, count + 1):
        changed, new = b"f%04d" % number, b"g\xff%d" % number
        edits = [
            Edit(changed, at(changed), (row_of(changed, "b"),)),
            Edit(new, at(new), (row_of(new, "c"),)),
        ]
        table = table.changed(edits)
        statement = statement_of(table, number, written[-1][0])
        written.append((store.write(statement, table, edits), table))
    return written


def test_every_snapshot_is_read_again_as_it_was(store: Store) -> None:
    written = write_series(store, 5)
    assert store.statements() == [statement for statement, _ in written]
    for statement, table in written:
        assert list(store.load(statement).rows()) == list(table.rows())
        assert store.of_snapshot(statement.snapshot_guid) == statement
    assert store.of_snapshot("1") is None


def test_what_changed_is_kept_and_not_everything(store: Store) -> None:
    write_series(store, 3)
    sizes = sorted(path.stat().st_size for path in Path(store.directory).glob("*.entries.lz4"))
    assert sizes[1] < 1000 < sizes[2]


def test_a_long_series_has_all_entries_now_and_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MOST_CHANGES", 4)
    written = write_series(store, 10)
    assert [statement.base is None for statement, _ in written] == [
        *(True, False, False, False, True, False, False, False, True, False)
    ]
    assert list(store.load(written[-1][0]).rows()) == list(written[-1][1].rows())


def test_the_statement_is_signed_as_it_is_written(store: Store) -> None:
    table = Table()
    statement = store.write(statement_of(table, 1), table, [], lambda content: b"<" + content)
    path = Path(store.directory) / f"{statement.stem}.json"
    assert store.signature(statement) == b"<" + path.read_bytes()
    assert store.signature(replace(statement, snapshot_guid="5")) is None


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["s1-*.entries.lz4", "s2-*.entries.lz4", "s1-*.json"])
def test_damage_is_found(store: Store, name: str, damage: Callable[[Path], None]) -> None:
    statement = write_series(store, 3)[-1][0]
    (path,) = Path(store.directory).glob(name)
    damage(path)
    with pytest.raises(EvidenceDamaged, match=r"s[12]-"):
        store.load(statement)


def test_entries_of_another_statement_are_refused(store: Store) -> None:
    first, second, third = (statement for statement, _ in write_series(store, 3))
    directory = Path(store.directory)
    other = (directory / f"{second.stem}.entries.lz4").read_bytes()
    (directory / f"{third.stem}.entries.lz4").write_bytes(other)
    store.load(first)
    with pytest.raises(EvidenceDamaged, match="root hash"):
        store.load(third)
