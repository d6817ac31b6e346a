"""What a run proved comes back from its file as it was, or not at all."""

import os
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.request import VerifyLevel
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification import kept_proofs
from dsgmigd.verification.kept_proofs import Pair, ProofFile, Proven
from dsgmigd.verification.walk_proofs import NO_LINE, BatchFacts, Kind, WalkProofs

PAIR = Pair("uuid of s3", 17, "guid of s3")
# A name that is no UTF-8, as the file system's functions give it.
ODD = os.fsdecode(b"d/\xff\n")


def proofs() -> WalkProofs:
    made = WalkProofs(linked={ODD: 2**63, "d/e": 7})
    for path, inode, blocks in (("", 256, b"b" * 32), (ODD, 2**63, None), (ODD, 2**63, b"")):
        facts = BatchFacts(
            b"d" * 16, bytes(range(48)), (-5, 2**40), blocks, array("I", [0, NO_LINE, 7])
        )
        batch = made.begin_batch(path, inode, facts)
        batch.set_kinds(bytes([Kind.FILE, Kind.UNPROVEN, Kind.OTHER]))
    return made


PROVEN = Proven(
    *("complete", Capabilities(xattrs=False), 1234.5678),
    manifest=b"m" * 16,
    nested=[ODD],
    proofs=proofs(),
)


@pytest.fixture
def file(tmp_path: Path) -> ProofFile:
    return ProofFile(str(tmp_path / "SV"))


def contents(found: WalkProofs) -> list[tuple[object, ...]]:
    return [
        (path, directory.inode, [(batch.facts, batch.kinds) for batch in directory.batches])
        for path, directory in found.directories.items()
    ]


def test_what_is_written_is_read(file: ProofFile, tmp_path: Path) -> None:
    file.write(PAIR, PROVEN)
    found = file.read(PAIR)
    assert found is not None
    assert replace(found, proofs=PROVEN.proofs) == PROVEN
    assert contents(found.proofs) == contents(PROVEN.proofs)
    assert found.proofs.linked == PROVEN.proofs.linked
    assert os.listdir(tmp_path) == ["SV"]
    assert (tmp_path / "SV").stat().st_mode & 0o777 == 0o600


def test_the_next_walk_builds_on_what_is_read(file: ProofFile) -> None:
    file.write(PAIR, PROVEN)
    found = file.read(PAIR)
    assert found is not None
    found.proofs.begin_snapshot()
    assert found.proofs.known("", 256)[bytes(range(16))] == Kind.FILE


@pytest.mark.parametrize(
    "other",
    [replace(PAIR, source="x"), replace(PAIR, version=18), replace(PAIR, target_guid="x")],
)
def test_proofs_of_other_snapshots_are_none(file: ProofFile, other: Pair) -> None:
    file.write(PAIR, PROVEN)
    assert file.read(other) is None


def test_no_file_is_no_proof(file: ProofFile) -> None:
    assert file.read(PAIR) is None


def test_proofs_of_another_version_are_none(
    file: ProofFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(PAIR, PROVEN)
    monkeypatch.setattr(kept_proofs, "_FORMAT", "3 little")
    assert file.read(PAIR) is None


def test_a_file_that_is_damaged_anywhere_proves_nothing(file: ProofFile, tmp_path: Path) -> None:
    file.write(PAIR, PROVEN)
    path = tmp_path / "SV"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        assert file.read(PAIR) is None, f"cut off at {place}"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert file.read(PAIR) is None, f"changed at {place}"


def test_a_line_that_is_missing_proves_nothing(file: ProofFile, tmp_path: Path) -> None:
    file.write(PAIR, PROVEN)
    path = tmp_path / "SV"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert file.read(PAIR) is None


def test_what_cannot_be_written_leaves_what_was_kept(
    file: ProofFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(PAIR, PROVEN)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="No space left"):
            file.write(replace(PAIR, version=18), PROVEN)
    assert file.read(PAIR) is not None
    assert os.listdir(tmp_path) == ["SV"]


@pytest.mark.parametrize(
    ("level", "capabilities", "is_enough"),
    [
        ("structure", PROVEN.capabilities, True),
        ("complete", PROVEN.capabilities, True),
        ("exhaustive", PROVEN.capabilities, False),
        ("complete", Capabilities(), False),
    ],
)
def test_proofs_are_enough_for_levels_that_ask_no_more_of_the_same_target(
    level: VerifyLevel, capabilities: Capabilities, *, is_enough: bool
) -> None:
    assert PROVEN.is_enough_for(level, capabilities) is is_enough
