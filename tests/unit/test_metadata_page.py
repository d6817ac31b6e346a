"""docs/dsg-metadata.md shows, byte for byte, what the writer writes."""

import os
import re
from pathlib import Path

import lz4.frame
import pytest

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.metadata import Metadata, Previous, make_metadata, render_manifest
from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.pushlog import LogFile, PushLogs
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.host.directories import Directories
from dsgmigd.names import SnapshotName, parse_repo_name

PAGE = Path(__file__).parents[2] / "docs" / "dsg-metadata.md"


def example(subject: str) -> str:
    """Return the block of the page below the line that ends in `subject` and a colon."""
    found = re.search(rf"{re.escape(subject)}:\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"the page has no example of {subject}"
    return found[1]


def write_file(path: Path, content: str, moment: float) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    os.utime(path, (moment, moment))


class Writer:
    """Writes the documents of a tree, one snapshot after the other."""

    def __init__(self, root: Path, pushes: dict[SnapshotName, Push]) -> None:
        self._root = root
        self._pushes = pushes
        self._directory = DsgDirectory(str(root))
        self._written: list[Metadata] = []
        self.manifest = Manifest()

    def write(self) -> None:
        name = SnapshotName(len(self._written) + 1)
        push = self._pushes[name]
        before = SnapshotName(name.number - 1) if self._written else None
        previous = Previous(before, self._written[-1]["snapshot_hash"]) if before else None
        with Directories(str(self._root)) as tree:
            Refresher(
                self.manifest, staging=tree, source=tree, user=push.user, checkpoint=lambda: None
            ).settle_all()

        def describe(count: int, entries_hash: str) -> Metadata:
            self._written.append(make_metadata(name, count, entries_hash, push, previous))
            return self._written[-1]

        pieces = render_manifest(self.manifest.lines(), describe)
        self._directory.write_manifest(pieces, previous=str(before) if before else None)
        self._directory.write_messages(self._written)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Write the two snapshots that the page describes."""
    logs = PushLogs(repo, [SnapshotName(1), SnapshotName(2)])
    logs.take(LogFile("page", example("push log").encode()))
    writer = Writer(tmp_path, logs.pushes())
    write_file(tmp_path / "data/list.csv", "name,year\n", 1_399_483_600)
    write_file(tmp_path / "data/Überblick.txt", "eins\n", 1_399_483_500)
    (tmp_path / "latest").symlink_to("data/list.csv")
    write_file(tmp_path / ".hidden", "in no manifest\n", 0)
    for name in (b"data", b"latest", b".hidden"):
        writer.manifest.appeared(name)
    writer.write()
    write_file(tmp_path / "data/list.csv", "name,year\nMaría,1982\n", 1_404_206_000)
    writer.manifest.content_changed(b"data/list.csv")
    writer.write()
    return tmp_path / ".dsg"


repo = parse_repo_name("SV")


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("`last-sync.json` of s2", "last-sync.json"),
        ("`sync-messages.json` of s2", "sync-messages.json"),
    ],
)
def test_the_examples_are_what_is_written(written: Path, subject: str, name: str) -> None:
    assert example(subject).encode() == (written / name).read_bytes()


def test_the_example_of_an_archive_is_the_manifest_before(written: Path) -> None:
    frame = (written / "archive/s1-sync.json.lz4").read_bytes()
    assert example("`archive/s1-sync.json.lz4` of s2, unpacked").encode() == lz4.frame.decompress(
        frame
    )


def test_the_listing_names_all_that_is_written(written: Path) -> None:
    names = sorted(
        f".dsg/{path.relative_to(written)}" for path in written.rglob("*") if path.is_file()
    )
    assert [line.split()[0] for line in example("has in s2").splitlines()] == names
