"""Whoever owns a repository exchanges a snapshot for a link, at every moment between look and use.

The link leads to what he may not read. What is read is the snapshot that was looked at, or nothing.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import btrfsutil
import pytest

from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.errors import DsgmigdError, PinImpossible, SourceChanged
from dsgmigd.host.command import Commands
from dsgmigd.migration.preflight import survey_snapshot
from dsgmigd.names import RepoName, SnapshotName
from dsgmigd.source import pin_area
from dsgmigd.source.in_place import Places
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import (
    HeldSnapshot,
    allocated_bytes,
    excluded_names,
    find_repository,
)
from dsgmigd.source.tree_search import Search
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.rsync import Rsync
from tests.integration.conftest import SPOOL_ID, Bed
from tests.integration.trees import Series, new_series, set_read_only, write, writing

S1 = SnapshotName(1)
WATCHED = [
    *((os, name) for name in ("lstat", "open", "stat", "listdir", "scandir", "readlink")),
    *((btrfsutil, name) for name in ("is_subvolume", "subvolume_info", "create_snapshot")),
]


@pytest.fixture
def secret(fresh_bed: Bed) -> Series:
    """A repository that its directory keeps from all others."""
    secret = new_series(fresh_bed, "SECRET", writing(HEAD="secret", a="secret"))
    secret.directory.chmod(0o700)
    write(secret.directory / "plain/HEAD", "secret")
    write(secret.directory / "plain/a", "secret")
    return secret


class Exchange:
    """Exchanges a snapshot for a link before the `at`-th call that might look at it."""

    def __init__(self, at: int, snapshot: Path, leads_to: Path) -> None:
        self.at = at
        self._snapshot, self._leads_to = snapshot, leads_to
        self.is_done = False

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.at -= 1
            if self.at == 0:
                self.do()
            return real(*arguments, **options)

        return call

    def do(self) -> None:
        if not self.is_done:
            self.is_done = True
            self._snapshot.rename(self._snapshot.with_name("mine"))
            self._snapshot.symlink_to(self._leads_to)

    def undo(self) -> None:
        if self.is_done:
            self.is_done = False
            self._snapshot.unlink()
            self._snapshot.with_name("mine").rename(self._snapshot)


def contents_while_exchanged(made: Bed, exchange: Exchange) -> str | None:
    """Look at SV, hold s1, and read it; return what is in it, None if all that was refused."""
    pins = None
    with ExitStack() as patched, suppress(DsgmigdError, OSError):
        monkeypatch = patched.enter_context(pytest.MonkeyPatch.context())
        for module, name in WATCHED:
            monkeypatch.setattr(module, name, exchange.before(getattr(module, name)))
        repository = find_repository(str(made.source_root), RepoName("SV"))
        pins = Pins(repository, "r1", SPOOL_ID)
        patched.enter_context(closing(pins))
        held = pins.hold(repository.snapshot(S1))
        return (Path(held.path) / "a").read_text()
    return None


@pytest.mark.parametrize("kind", ["subvolume", "not pinned", "plain"])
def test_a_snapshot_that_is_exchanged_between_look_and_use_is_not_followed(
    fresh_bed: Bed, secret: Series, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    series = Series(fresh_bed.source_root / "SV")
    (series.push_plain if kind == "plain" else series.push)(writing(a="mine"))
    if kind != "plain":
        set_read_only(series.snapshot(1), is_read_only=False)  # it can be renamed
    if kind == "not pinned":
        monkeypatch.setattr(pin_area, "create_pin", refuse)
    leads_to = secret.directory / "plain" if kind == "plain" else secret.snapshot(1)
    at, found = 0, set()
    while True:
        at += 1
        exchange = Exchange(at, series.snapshot(1), leads_to)
        found.add(contents_while_exchanged(fresh_bed, exchange))
        is_last = not exchange.is_done
        exchange.undo()
        repository = find_repository(str(fresh_bed.source_root), RepoName("SV"))
        Pins(repository, "r1", SPOOL_ID).release_all()
        assert not (fresh_bed.source_root / ".dsgmigd-pins").exists()
        assert "secret" not in found, f"before call {at}"
        if is_last:
            break
    assert "mine" in found
    assert at > 10


def refuse(*_: str) -> None:
    raise PinImpossible("refused", hint="")


def readers(made: Bed, held: HeldSnapshot) -> dict[str, Callable[[], object]]:
    """Return everything that reads a held snapshot, and what is found of it."""
    target = made.spool.parent / "copy"
    target.mkdir(exist_ok=True)

    def copy() -> object:
        Rsync(Commands(), Capabilities(), lambda: None).mirror(held.path, str(target))
        return sorted((path.name, path.read_text()) for path in target.iterdir())

    def copy_some() -> object:
        Rsync(Commands(), Capabilities(), lambda: None).copy_paths([b"a"], held.path, str(target))
        return (target / "a").read_text()

    def search() -> object:
        with Search(held.path) as found:
            return len(list(found.changes(0)))

    def opened() -> object:
        with held.open() as tree:
            return sorted(tree.names(b""))

    return {
        "excluded": lambda: excluded_names(held),
        "scope": lambda: str(read_scope(held.path)),
        "allocated": lambda: allocated_bytes(held.path),
        "survey": lambda: survey_snapshot(held, 0, Capabilities(), ()),
        "rsync": copy,
        "rsync of some": copy_some,
        "search": search if held.subvolume else no_read,
        "open": opened,
    }


def no_read() -> None:
    """Stand for what a plain directory is not read with."""


@pytest.mark.parametrize("kind", ["subvolume", "plain"])
def test_whatever_reads_a_snapshot_in_place_reads_the_one_that_was_looked_at(
    fresh_bed: Bed, secret: Series, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(pin_area, "create_pin", refuse)
    series = Series(fresh_bed.source_root / "SV")
    edit = writing(a="mine", **{".dsgconfig.yml": "project: {data_dirs: [mine]}\n"})
    (series.push_plain if kind == "plain" else series.push)(edit)
    write(secret.directory / "plain/.dsgconfig.yml", "project: {data_dirs: [secret]}\n")
    if kind != "plain":
        set_read_only(series.snapshot(1), is_read_only=False)
    repository = find_repository(str(fresh_bed.source_root), RepoName("SV"))
    with closing(Pins(repository, "r1", SPOOL_ID)) as pins:
        held = pins.hold(repository.snapshot(S1))
        real, exchange = Places.path_to, Exchange(0, series.snapshot(1), secret.directory / "plain")

        def path_to(places: Places, place: str) -> str:
            path = real(places, place)
            exchange.do()
            return path

        for name, read in readers(fresh_bed, held).items():
            expected = read()
            with monkeypatch.context() as patched:
                patched.setattr(Places, "path_to", path_to)
                found = read()
            assert (name, found, exchange.is_done) == (name, expected, read is not no_read)
            with suppress(SourceChanged):
                read()
            exchange.undo()
    assert held.place == str(series.snapshot(1))
