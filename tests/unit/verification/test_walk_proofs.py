"""What the walk before found equal is known by directory, also if that was renamed."""

import os
from array import array

import pytest

from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.walk_proofs import (
    NO_LINE,
    BatchFacts,
    BatchProofs,
    Kind,
    Slot,
    WalkProofs,
    fingerprints,
    kind_of_file,
    kinds_of,
)

RECORDS = [bytes([number]) * 8 for number in range(4)]
PRINTS = fingerprints(RECORDS, [b"", b"x", b"", b"y"])
LATER = Moments((200.0, 300.0), 250.0)
BLOCKS = b"hash of a block"


def facts(prints: list[bytes], digest: bytes = b"d") -> BatchFacts:
    lines = array("I", [NO_LINE] * len(prints))
    return BatchFacts(digest, b"".join(prints), (100, 120), BLOCKS, lines)


def filled(proofs: WalkProofs, path: str, inode: int, prints: list[bytes]) -> BatchProofs:
    """Add a batch of which everything was found equal."""
    batch = proofs.begin_batch(path, inode, facts(prints))
    for index in range(len(prints)):
        Slot(batch, index, is_proven=False).prove(Kind.OTHER)
    return batch


def test_a_fingerprint_is_that_of_a_record_and_its_entry() -> None:
    assert fingerprints(RECORDS, [b"", b"x", b"", b"y"]) == PRINTS
    others = fingerprints([*RECORDS[1:], RECORDS[0]], [b"", b"q", b"x", b"z"])
    assert len({*PRINTS, *others}) == 8


def test_only_what_was_found_equal_is_known_and_for_one_walk_only() -> None:
    proofs = WalkProofs()
    batch = proofs.begin_batch("d", 7, facts(PRINTS))
    batch.prove(1, Kind.FILE)
    batch.prove(2, Kind.DIRECTORY)
    assert proofs.known("d", 7) == {}
    proofs.begin_snapshot()
    known = proofs.known("d", 7)
    assert kinds_of(PRINTS, known) == bytes([0, Kind.FILE, Kind.DIRECTORY, 0])
    proofs.begin_snapshot()
    assert proofs.known("d", 7) == {}
    assert kinds_of(PRINTS, {}) == b""


def test_of_two_names_of_one_file_one_may_be_proven() -> None:
    for proven in (0, 1):
        proofs = WalkProofs()
        proofs.begin_batch("d", 7, facts([PRINTS[0]] * 2)).prove(proven, Kind.OTHER)
        proofs.begin_snapshot()
        assert proofs.known("d", 7) == {PRINTS[0]: Kind.OTHER}


def test_all_batches_of_a_directory_are_known_and_none_of_another() -> None:
    proofs = WalkProofs()
    filled(proofs, "d", 7, PRINTS[:1])
    filled(proofs, "d", 7, PRINTS[1:2])
    filled(proofs, "e", 8, PRINTS[2:])
    proofs.begin_snapshot()
    assert set(proofs.known("d", 7)) == set(PRINTS[:2])
    assert set(proofs.known("e", 8)) == set(PRINTS[2:])
    assert proofs.known("f", 9) == {}


def test_a_renamed_directory_is_known_by_its_inode_and_its_old_path_by_its_path() -> None:
    proofs = WalkProofs()
    filled(proofs, "d", 7, PRINTS[:1])
    filled(proofs, "e", 8, PRINTS[1:2])
    proofs.begin_snapshot()
    assert set(proofs.known("new", 7)) == set(PRINTS[:1])
    assert set(proofs.known("d", 8)) == set(PRINTS[:2])
    assert set(proofs.known("d/below", 9)) == set()


@pytest.mark.parametrize(
    ("digest", "blocks", "moments", "is_unchanged"),
    [
        (b"d", BLOCKS, LATER, True),
        (b"e", BLOCKS, LATER, False),
        (b"d", b"", LATER, False),
        (b"d", None, LATER, False),
        (b"d", BLOCKS, Moments((200.0, 300.0), 121.0), False),
        (b"d", BLOCKS, Moments((101.0, 300.0), 250.0), False),
        (b"d", BLOCKS, Moments(), False),
    ],
)
def test_a_batch_is_unchanged_if_names_records_entries_and_times_say_so(
    digest: bytes, blocks: bytes | None, moments: Moments, *, is_unchanged: bool
) -> None:
    batch = filled(WalkProofs(), "d", 7, PRINTS)
    kinds = batch.kinds_if_unchanged(digest, blocks, moments)
    assert kinds == (bytes([Kind.OTHER] * 4) if is_unchanged else None)


def test_a_batch_in_which_something_is_not_proven_is_not_unchanged() -> None:
    batch = filled(WalkProofs(), "d", 7, PRINTS)
    batch.prove(3, Kind.UNPROVEN)
    assert batch.kinds_if_unchanged(b"d", BLOCKS, LATER) is None


def test_a_batch_without_blocks_is_never_unchanged() -> None:
    batch = filled(WalkProofs(), "d", 7, PRINTS)
    batch.facts.blocks = None
    assert batch.kinds_if_unchanged(b"d", None, LATER) is None


def test_the_batch_before_is_that_in_the_same_place() -> None:
    proofs = WalkProofs()
    first, second = (filled(proofs, "d", 7, [one]) for one in PRINTS[:2])
    proofs.begin_snapshot()
    assert proofs.batch_before("e") is None
    assert proofs.batch_before("d") is first
    proofs.begin_batch("d", 7, facts(PRINTS[:1]))
    assert proofs.batch_before("d") is second
    proofs.begin_batch("d", 7, facts(PRINTS[:1]))
    assert proofs.batch_before("d") is None


def status(**changed: int) -> os.stat_result:
    fields = {"mode": 0o100644, "links": 1, "uid": 0, "size": 5, "mtime_ns": 1} | changed
    mode, links, uid, size = (fields[name] for name in ("mode", "links", "uid", "size"))
    times = {"st_mtime_ns": fields["mtime_ns"], "st_mtime": 0.0}
    return os.stat_result((mode, 1, 1, links, uid, 0, size, 0, 0, 0), times)


def test_a_listed_file_with_one_name_and_no_loss_only_has_to_be_counted() -> None:
    assert kind_of_file(status(), status(), b"{}", Capabilities()) == Kind.FILE


@pytest.mark.parametrize(
    ("source", "target", "entry"),
    [
        (status(), status(), None),
        (status(links=2), status(), b"{}"),
        (status(), status(links=2), b"{}"),
        (status(uid=1), status(), b"{}"),
        (status(mode=0o100600), status(), b"{}"),
        (status(mtime_ns=2), status(), b"{}"),
    ],
)
def test_every_other_file_is_looked_at(
    source: os.stat_result, target: os.stat_result, entry: bytes | None
) -> None:
    assert kind_of_file(source, target, entry, Capabilities()) == Kind.OTHER


def test_a_file_that_loses_its_time_is_looked_at_for_its_loss() -> None:
    capabilities = Capabilities(subsecond_mtime=False)
    assert kind_of_file(status(), status(mtime_ns=0), b"{}", capabilities) == Kind.OTHER
