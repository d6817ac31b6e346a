"""Every oddity that a btrfs snapshot can hold arrives exactly, or is refused by name."""

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import bed
import pytest

from dsgmigd.dsg.push_line import Push
from dsgmigd.host.command import Commands
from dsgmigd.migration.preflight import survey_snapshot
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.probe import probe_capabilities
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier
from tests.integration import zfs_kind
from tests.integration.comparer import differences
from tests.integration.conftest import Bed, write_config
from tests.integration.oddities import (
    ACLS,
    FINE,
    LATE,
    ODDITIES,
    ORDINARY,
    OWNED,
    XATTRS,
    plant_all,
)
from tests.integration.snapshots import held_snapshot
from tests.integration.trees import (
    Series,
    assert_migrated,
    delete_subvolumes,
    moving,
    new_series,
    removing,
    write,
    writing,
)

SPARSE_GIBIBYTES = int(os.environ.get("DSGMIGD_SPARSE_GIBIBYTES", "8"))


def disturb(tree: Path) -> None:
    """Move every oddity, so that none is left where it was, and touch what can be touched."""
    for path in sorted(tree.glob("o*")):
        path.rename(tree / f"moved {path.name}")
        file = path.parent / f"moved {path.name}" / "f"
        if file.is_file() and file.stat().st_size <= 1 << 20:
            shutil.copy2(file, path)


def remove_half(tree: Path) -> None:
    for path in sorted(tree.glob("moved*"))[::2]:
        shutil.rmtree(path)


@pytest.mark.sweep
@pytest.mark.parametrize("is_sent", [True, False])
def test_a_file_system_that_holds_them_gets_all_of_them(
    btrfs_root: Path, second_btrfs: Path, *, is_sent: bool
) -> None:
    capabilities = probe_capabilities(str(second_btrfs))
    assert capabilities.xattrs and capabilities.acls and capabilities.devices  # noqa: PT018
    series = Series(btrfs_root / "oddities", has_push_log=False)
    series.push(lambda tree: plant_all(tree, set(ODDITIES)))
    series.push(disturb)
    series.push(remove_half)
    root = second_btrfs / "replayed"
    root.mkdir()
    try:
        _replay(series, root, capabilities, is_sent=is_sent)
    finally:
        delete_subvolumes(series.directory)


def _replay(
    series: Series,
    root: Path,
    capabilities: Capabilities,
    *,
    is_sent: bool = True,
    is_compared: bool = True,
) -> None:
    writer = SnapshotWriter(
        str(root),
        commands=Commands(),
        capabilities=capabilities,
        allowed=(),
        send_protocol=None,
        progress=Progress(),
    )
    verifier = Verifier(level="complete", hash_threads=2, capabilities=capabilities)
    parent: HeldSnapshot | None = None
    for number in range(1, series.count + 1):
        held = held_snapshot(number, series.snapshot(number))
        nested = survey_snapshot(held, held.changed_since(parent) or 0, capabilities, ())
        writer.write(held, parent, Push("ana", 1.4e9, "--"), is_sent=is_sent, nested=nested)
        if is_compared:
            assert differences(series.snapshot(number), root) == []
        found = verifier.verify(held.path, str(root), number, Moments())
        assert found.discrepancies == []
        assert found.source_bytes_read < 1 << 30
        parent = held


def migrate_oddities(made: Bed, names: set[str]) -> Series:
    series = Series(made.source_root / "SV")
    series.push(lambda tree: plant_all(tree, names))
    series.push(disturb)
    return series


@pytest.mark.parametrize("engine", ["auto", "rsync"])
def test_a_pool_gets_all_that_it_holds(fresh_bed: Bed, engine: str) -> None:
    write_config(fresh_bed, source=f'engine = "{engine}"')
    names = set(ORDINARY if zfs_kind.LOSSES else ODDITIES) - {"nested subvolume"}
    series = migrate_oddities(fresh_bed, names)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert [words.partition(",")[0] for words in result["warnings"]] == [
        "s1: names that DSG's client refuses",
        "s2: names that DSG's client refuses",
    ]
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def test_what_is_mounted_in_a_plain_directory_stays_out(fresh_bed: Bed) -> None:
    place = fresh_bed.source_root / "SV/s1"
    write(place / "file")
    (place / "mounted").mkdir()
    bed.run("mount", "-t", "tmpfs", "dsgmigd-test", place / "mounted")
    try:
        write(place / "mounted/not migrated")
        result = fresh_bed.migrate("SV")
    finally:
        bed.run("umount", place / "mounted")
    assert result["outcome"] == "done", result["error"]
    assert any("only an empty directory was created for each" in one for one in result["warnings"])
    snapshot = fresh_bed.mountpoint / "SV/.zfs/snapshot/s1"
    target = snapshot if snapshot.is_dir() else fresh_bed.mountpoint / "SV"
    assert (target / "file").is_file()
    assert list((target / "mounted").iterdir()) == []


@pytest.mark.parametrize(
    ("option", "names", "words"),
    [
        ("casesensitivity=insensitive", [b"Caf", b"cAF"], "names that collide on the target"),
        (
            "normalization=formD",
            ["caf\u00e9".encode(), "cafe\u0301".encode()],
            "collide on the target",
        ),
        ("utf8only=on", [b"caf\xe9"], "UTF-8"),
    ],
)
def test_names_that_the_pools_rules_do_not_allow_are_refused_before_anything_is_copied(
    fresh_bed: Bed, option: str, names: list[bytes], words: str
) -> None:
    strict = replace(
        fresh_bed, parent=f"{fresh_bed.parent}/strict", mountpoint=fresh_bed.mountpoint / "strict"
    )
    bed.run("zfs", "create", "-o", option, strict.parent)
    write_config(strict)

    def name(tree: Path) -> None:
        for one in names:
            write(tree / "fine" / os.fsdecode(one))

    new_series(strict, "SV", name)
    result = strict.migrate("SV")
    assert result["outcome"] == "failed"
    assert result["error"]["code"] == "target_refused"
    assert words in result["error"]["message"]
    assert "'fine/caf" in result["error"]["message"].lower()
    assert result["snapshots"] == []


def test_where_another_subvolume_begins_the_pool_gets_an_empty_directory(fresh_bed: Bed) -> None:
    def nest(tree: Path) -> None:
        write(tree / "a/file")
        bed.run("btrfs", "subvolume", "create", tree / "a/nested")
        write(tree / "a/nested/not migrated")

    edits = (nest, moving("a", "b"), removing("b/file"), removing("b/nested"))
    new_series(fresh_bed, "SV", *edits)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert [words.partition(":")[0] for words in result["warnings"]] == ["s1", "s2"]
    assert "only an empty directory was created for each: 'b/nested'" in result["warnings"][1]
    expected = {"s1": ["a", "a/file", "a/nested"], "s2": ["b", "b/file", "b/nested"]}
    expected |= {"s3": ["b", "b/nested"], "s4": ["b"]}
    for name, paths in expected.items():
        view = fresh_bed.spool.parent / "view"
        with bed.snapshot_view(f"{fresh_bed.parent}/SV", name, view) as tree:
            found = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
            assert [path for path in found if not path.startswith(".dsg")] == paths


# What zfs-fuse refuses, in which words.
REFUSED = {
    **dict.fromkeys(XATTRS, ("loss_not_allowed", "extended attributes")),
    **dict.fromkeys(ACLS, ("loss_not_allowed", "POSIX ACLs")),
    **dict.fromkeys(LATE, ("loss_not_allowed", "out of the target's range")),
    **dict.fromkeys(FINE, ("loss_not_allowed", "below the second")),
    **dict.fromkeys(OWNED, ("target_refused", "above the target's highest")),
}


@zfs_kind.target_with_losses
@pytest.mark.parametrize("group", [XATTRS, ACLS, LATE, FINE, OWNED])
def test_what_a_pool_cannot_hold_is_refused_by_name_before_anything_is_copied(
    fresh_bed: Bed, group: dict[str, object]
) -> None:
    text = fresh_bed.config.read_text(encoding="utf-8")
    losses = '"subsecond_mtime"' if group is not FINE else ""
    text = text.replace('"xattr", "acl", "subsecond_mtime"', losses)
    fresh_bed.config.write_text(text, encoding="utf-8")
    for number, name in enumerate(group):
        repo = f"R{number}"
        series = Series(fresh_bed.source_root / repo, has_push_log=False)
        series.push(writing())
        series.push(partial(plant_all, names={name}))
        error = fresh_bed.migrate(repo)["error"]
        code, words = REFUSED[name]
        assert (error["code"], words in error["message"]) == (code, True), error
        assert "s2 has content that" in error["message"] or group is FINE
        position = sorted(ODDITIES).index(name)
        assert f"o{position:03}" in error["message"] or group is FINE
        assert os.listdir(fresh_bed.mountpoint / ".dsgmigd" / "staging") == []


@zfs_kind.target_with_losses
def test_losses_that_are_allowed_are_listed_where_they_were(fresh_bed: Bed) -> None:
    write_config(fresh_bed)
    text = fresh_bed.config.read_text(encoding="utf-8")
    fresh_bed.config.write_text(text.replace('"xattr", ', '"xattr", "mtime_range", '))
    names = set(XATTRS) | set(ACLS) | set(LATE)
    series = migrate_oddities(fresh_bed, names)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    losses = {loss["loss"]: loss for loss in result["losses"]}
    assert set(losses) == {"xattr", "acl", "subsecond_mtime", "mtime_range"}
    assert losses["xattr"]["count"] >= len(XATTRS)
    assert losses["acl"]["count"] == 2 * len(ACLS)
    assert losses["mtime_range"]["count"] == (3 + 4) * len(LATE)  # s2 has a copy of each file
    assert all(path.startswith("s1/o") for path in losses["acl"]["examples"][: len(ACLS)])
    del series


def test_there_are_more_than_sixty_kinds() -> None:
    assert len(ODDITIES) > 60


def test_a_sparse_file_costs_its_data_and_the_hashing_of_zeros(
    btrfs_root: Path, second_btrfs: Path
) -> None:
    size = SPARSE_GIBIBYTES << 30

    def make(tree: Path) -> None:
        with (tree / "sparse").open("wb") as file:
            file.truncate(size)
            for offset in (0, size // 2 + 1, size - 4):
                file.seek(offset)
                file.write(b"data")

    def edit(tree: Path) -> None:
        with (tree / "sparse").open("r+b") as file:
            file.seek(size // 3)
            file.write(b"more")

    series = Series(btrfs_root / "sparse", has_push_log=False)
    series.push(make)
    series.push(edit)
    root = second_btrfs / "replayed"
    root.mkdir()
    try:
        _replay(series, root, probe_capabilities(str(second_btrfs)), is_compared=False)
    finally:
        delete_subvolumes(series.directory)
    assert (root / "sparse").stat().st_size == size
    assert (root / "sparse").stat().st_blocks * 512 < 1 << 20


def test_a_path_that_no_send_stream_can_tell_is_refused_by_name(fresh_bed: Bed) -> None:
    def dig(tree: Path) -> None:
        """Dig as deep as a stream can tell, and with the last name one byte deeper."""
        descriptor = os.open(tree, os.O_RDONLY)
        for depth in range(100):
            name = f"{depth:02}{'d' * 37}"
            os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        names = (
            ("fine" + "x" * 91, "deep" + "x" * 92) if tree.name == "s2" else ("fine" + "x" * 91,)
        )
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        os.close(descriptor)

    def deepen(tree: Path) -> None:
        shutil.rmtree(tree / f"00{'d' * 37}")
        dig(tree)

    new_series(fresh_bed, "SV", dig, deepen)
    assert fresh_bed.migrate("SV", "--limit", "1")["outcome"] == "done"
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "target_refused"
    assert "s2 has content that" in error["message"]
    assert "paths longer than btrfs send supports (1, first: '00ddd" in error["message"]
    assert "xxx')" in error["message"]
