"""What each level reads, what is proven, and how a verification ends."""

import json
import os
import threading
import time
from collections.abc import Callable

import pytest

from dsgmigd.errors import InterruptedByStop
from dsgmigd.request import VerifyLevel
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.metadata import manifest_reader
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier
from tests.unit.verification.metadata.dsg_documents import Document, write_documents
from tests.unit.verification.snapshot_pair import FILES, MTIME, World, calling_functions


class Series:
    """Two snapshots of an unchanged source, verified one after the other."""

    def __init__(self, world: World, level: VerifyLevel) -> None:
        self.world = world
        self.verifier = Verifier(level=level, hash_threads=2, capabilities=Capabilities())
        # As if both snapshots had been made long after the files were last touched.
        self.later = Moments(source=(time.time() + 1000,), target=time.time() + 1000)

    def verify(
        self, number: int, moments: Moments | None = None, *, is_verified_before: bool = False
    ) -> Verification:
        write_documents(self.world.target, number)
        return self.verifier.verify(
            str(self.world.source),
            str(self.world.target),
            number,
            moments or self.later,
            is_verified_before=is_verified_before,
        )


def test_proven_files_are_not_read_again(world: World) -> None:
    series = Series(world, "complete")
    assert series.verify(1).files_read == FILES
    second = series.verify(2)
    assert second.discrepancies == []
    assert (second.files_read, second.files_proven, second.source_bytes_read) == (0, FILES, 0)
    assert series.verify(3).files_proven == FILES


def test_a_proven_file_outside_a_new_scope_must_not_be_listed(world: World) -> None:
    series = Series(world, "complete")
    assert series.verify(1).discrepancies == []
    for root in (world.source, world.target):
        (root / ".dsgconfig.yml").write_text("data_dirs: [d]")
        for path in (root / ".dsgconfig.yml", root):
            os.utime(path, ns=(MTIME, MTIME))
    found = {(one.path, one.attribute) for one in series.verify(2).discrepancies}
    assert found == {(name, "manifest") for name in ("a.txt", "h1", "ünï\nline")}


def test_a_file_that_changed_is_read_and_the_others_are_not(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    for root in (world.source, world.target):
        (root / "a.txt").write_bytes(b"content b")
        os.utime(root / "a.txt", ns=(MTIME, MTIME))
    second = series.verify(2)
    assert second.discrepancies == []
    assert (second.files_read, second.files_proven) == (1, FILES - 1)


def test_content_that_changed_on_the_target_alone_is_found_behind_proofs(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    (world.target / "a.txt").write_bytes(b"content b")
    os.utime(world.target / "a.txt", ns=(MTIME, MTIME))
    found = {(one.path, one.attribute) for one in series.verify(2).discrepancies}
    assert found == {("a.txt", "content")}


def test_a_file_that_was_found_different_is_not_proven_afterwards(world: World) -> None:
    (world.target / "a.txt").write_bytes(b"content b")
    world.copy_times()
    series = Series(world, "complete")
    series.verify(1)
    assert [one.path for one in series.verify(2).discrepancies] == ["a.txt"]


def test_nothing_is_proven_without_knowing_when_the_snapshots_were_made(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    assert series.verify(2, Moments()).files_read == FILES


def test_a_snapshot_that_was_verified_before_is_not_read_but_proves_the_next(
    world: World,
) -> None:
    series = Series(world, "complete")
    first = series.verify(1, is_verified_before=True)
    assert (first.files_read, first.files_proven) == (0, 0)
    assert series.verify(2).files_proven == FILES


def test_another_verifier_goes_on_from_what_one_proved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Series(world, "complete"), Series(world, "complete")
    kept = first.verifier.proven(first.verify(1), time.time() + 1000)
    with monkeypatch.context() as patch:
        patch.setattr(manifest_reader, "_decode", None)  # no line is looked into again
        found = second.verifier.go_on(str(world.target), 1, Moments(), kept)
    assert found.discrepancies == []
    assert second.verify(2).files_proven == FILES


def test_who_goes_on_checks_a_manifest_that_is_another_one_now(world: World) -> None:
    series = Series(world, "complete")
    kept = series.verifier.proven(series.verify(1), time.time() + 1000)

    def turn(entries: Document) -> None:
        entries["a.txt"] = dict(reversed(entries["a.txt"].items()))

    write_documents(world.target, 1, change=turn)
    found = series.verifier.go_on(str(world.target), 1, Moments(), kept)
    assert [(one.path, one.attribute) for one in found.discrepancies] == [
        ("a.txt", "manifest entry")
    ]


def test_exhaustive_reads_everything_every_time(world: World) -> None:
    series = Series(world, "exhaustive")
    assert [series.verify(number).files_read for number in (1, 2)] == [FILES, FILES]


def test_structure_reads_no_contents_and_compares_all_else(world: World) -> None:
    (world.target / "a.txt").write_bytes(b"content b")
    world.copy_times()
    result = world.verify(level="structure")
    assert (result.discrepancy_count, result.files, result.files_read) == (0, FILES, 0)
    assert (result.source_bytes_read, result.target_bytes_read) == (0, 0)
    (world.target / "d" / ".hidden").unlink()
    (world.target / "a.txt").chmod(0o600)
    world.copy_times()
    found = world.verify(level="structure").discrepancies
    assert {(one.path, one.attribute) for one in found} == {
        ("d/.hidden", "presence"),
        ("a.txt", "mode"),
    }


def test_structure_compares_what_entries_say_without_reading_and_counts_the_hashes(
    world: World,
) -> None:
    assert world.verify().hashes_unchecked == 0
    before = world.verify(level="structure")
    listed = len(json.loads((world.target / ".dsg" / "last-sync.json").read_bytes())["entries"])
    links = 1
    assert before.hashes_unchecked == listed - links
    for root in (world.source, world.target):  # as if the manifest had missed a change
        with (root / "a.txt").open("ab") as file:
            file.write(b"more")
    world.copy_times()
    found = world.verify(level="structure").discrepancies
    assert [(one.path, one.attribute) for one in found] == [("a.txt", "manifest entry")]


@pytest.mark.parametrize("number", [1, 3])
def test_the_messages_are_read_once_for_each_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened: list[str] = []
    real = os.open

    def noted(path: str | bytes, *arguments: int, **options: int) -> int:
        opened.append(os.path.basename(os.fsdecode(path)))
        return real(path, *arguments, **options)

    series = Series(world, "complete")
    write_documents(world.target, number)
    monkeypatch.setattr(os, "open", noted)
    assert series.verify(number).discrepancies == []
    assert opened.count("sync-messages.json") == 1


# Limits and errors.


def test_all_discrepancies_are_counted_and_the_first_are_kept(world: World) -> None:
    for number in range(150):
        (world.target / f".extra {number}").touch()
    world.copy_times()
    result = world.verify()
    assert (result.discrepancy_count, len(result.discrepancies)) == (150, 100)
    assert len(result.to_json()["discrepancies"]) == 100


def test_the_checkpoint_may_stop_the_walk_at_any_entry_and_leaves_nothing_open(
    world: World,
) -> None:
    before = os.listdir("/proc/self/fd")
    entries = world.verify().entries
    for count in range(entries):
        with pytest.raises(InterruptedByStop):
            Verifier(
                level="complete",
                hash_threads=2,
                capabilities=Capabilities(),
                checkpoint=_stop_after(count),
            ).verify(str(world.source), str(world.target), 1, Moments())
    assert os.listdir("/proc/self/fd") == before


def test_the_checkpoint_stops_a_thread_that_hashes_a_file(world: World) -> None:
    """A file of terabytes takes hours: the thread that waits for its digest cannot stop it."""
    path = world.source / "a.txt"
    os.truncate(path, 2**43)
    os.truncate(world.target / "a.txt", 2**43)
    calls = threading.local()

    def checkpoint() -> None:
        if threading.current_thread() is not threading.main_thread():
            calls.count = getattr(calls, "count", 0) + 1
            if calls.count > 100:
                raise InterruptedByStop

    verifier = Verifier(
        level="complete", hash_threads=2, capabilities=Capabilities(), checkpoint=checkpoint
    )
    began = time.monotonic()
    with pytest.raises(InterruptedByStop):
        verifier.verify(str(world.source), str(world.target), 1, Moments())
    assert time.monotonic() - began < 30


def test_the_checkpoint_is_called_while_documents_and_archives_are_read(world: World) -> None:
    """Whoever owns the dataset decides how large they are."""
    callers: set[str] = set()
    verifier = Verifier(
        level="complete",
        hash_threads=2,
        capabilities=Capabilities(),
        checkpoint=lambda: callers.update(calling_functions()),
    )
    for number in (1, 2, 3):
        write_documents(world.target, number)
        verifier.verify(str(world.source), str(world.target), number, Moments())
    assert {"Documents.read", "Archives.check"} <= callers


def _stop_after(count: int) -> Callable[[], None]:
    left = [count]

    def checkpoint() -> None:
        if not left[0]:
            raise InterruptedByStop
        left[0] -= 1

    return checkpoint
