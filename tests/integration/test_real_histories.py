"""Histories that people really wrote: each release of a package is the next snapshot."""

import json
import os
from pathlib import Path

import bed
import pytest
import xxhash

from tests.amounts import amount
from tests.dsg_reader import Repository
from tests.integration import releases, zfs_kind
from tests.integration.conftest import Bed

EXCLUDED = {".snap", "HEAD"}
UNLISTED = {"__pycache__", ".Rdata", ".rdata", ".RData", ".Rproj.user", ".DS_Store"}


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("package", "write"),
    [("click", releases.write_in_place), ("pygments", releases.rewrite)],
    ids=["edited in place", "replaced"],
)
def test_every_release_arrives_as_it_was(
    fresh_bed: Bed, package: str, write: releases.Write
) -> None:
    trees = build_history(fresh_bed.source_root / package, fetched(package), write)
    fresh_bed.dsgmigd("migrate", package, timeout_seconds=400)
    assert fresh_bed.snapshots(package) == [tree.name for tree in trees]
    reader = Repository()
    for tree in trees:
        view = fresh_bed.spool.parent / "view"
        with bed.snapshot_view(f"{fresh_bed.parent}/{package}", tree.name, view):
            assert differences(tree, view) == ""
            assert described(view) == listed(tree), tree
            reader.take(view)


def fetched(package: str) -> list[Path]:
    """Return the archives; without them a run proves nothing, and where it counts that fails."""
    try:
        return releases.archives(package, int(amount("DSGMIGD_RELEASES")))
    except releases.FetchFailed as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"not cached and not to be had: {error}")


def build_history(directory: Path, archives: list[Path], write: releases.Write) -> list[Path]:
    """Unpack each archive over the one before, as the next btrfs snapshot."""
    directory.mkdir()
    trees: list[Path] = []
    log = ""
    for number, archive in enumerate(archives, 1):
        tree = directory / f"s{number}"
        if trees:
            bed.run("btrfs", "subvolume", "snapshot", trees[-1], tree)
        else:
            bed.run("btrfs", "subvolume", "create", tree)
        releases.unpack(archive, tree, write)
        log += (
            f"{directory.name}/s{number} | ana | 2014-05-{number:02} 17:27:26 UTC (Wed)"
            f" | release {archive.name}\n"
        )
        (tree / ".snap").mkdir(exist_ok=True)
        (tree / ".snap/push.log").write_text(log, encoding="utf-8")
        bed.run("btrfs", "property", "set", "-ts", tree, "ro", "true")
        trees.append(tree)
    return trees


def differences(source: Path, view: Path) -> str:
    """Return what rsync would do to make either tree the other one, contents compared."""
    rsync = ["rsync", "-nca", "--numeric-ids", "--delete", "--itemize-changes"]
    rsync.append(zfs_kind.RSYNC_TIMES)
    there = ("--filter=H /.snap", "--filter=H /HEAD", "--filter=P /.dsg")
    back = ("--filter=P /.snap", "--filter=P /HEAD", "--filter=H /.dsg")
    return bed.run(*rsync, *there, f"{source}/", f"{view}/") + bed.run(
        *rsync, *back, f"{view}/", f"{source}/"
    )


def listed(tree: Path) -> dict[str, str]:
    """Return what a manifest has to list, by the rules of DSG: digests, and targets of links."""
    found = {}
    for place, directories, files in os.walk(tree):
        at_root = Path(place) == tree
        directories[:] = [
            name
            for name in directories
            if is_listed(name, at_root=at_root) and not Path(place, name).is_symlink()
        ]
        for name in files:
            path = Path(place, name)
            if is_listed(name, at_root=at_root):
                found[str(path.relative_to(tree))] = (
                    os.readlink(path)
                    if path.is_symlink()
                    else xxhash.xxh3_64_hexdigest(path.read_bytes())
                )
    return found


def is_listed(name: str, *, at_root: bool) -> bool:
    if name.startswith(".") or name in UNLISTED or name.endswith((".pyc", ".tmp")):
        return False
    return not (at_root and name in EXCLUDED)


def described(view: Path) -> dict[str, str]:
    """Return what the manifest lists."""
    manifest = json.loads((view / ".dsg/last-sync.json").read_text(encoding="utf-8"))
    entries = manifest["entries"]
    assert manifest["metadata"]["entry_count"] == len(entries)
    return {path: entry.get("hash", entry.get("reference")) for path, entry in entries.items()}
