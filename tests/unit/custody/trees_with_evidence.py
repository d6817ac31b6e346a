"""Makes evidence of a directory, as a migration makes it of a snapshot."""

import os
from pathlib import Path

from dsgmigd.custody.statement import Statement
from dsgmigd.custody.table import Row, Table, whole
from dsgmigd.custody.tree import Tree

NAMES = (
    *(b"plain", b"with blank", b".hidden", b"-n", b"--help", b"100%", b"%41", b"=25", b"a\nb"),
    *(
        b"a\rb",
        b"back\\slash",
        b"\\n",
        b"\xff\xfe",
        b"x" * 255,
        b"\xff" * 255,
        b"ends ",
        b" begins",
    ),
    *(b"\xc3\xa9", b"e\xcc\x81", b"~", b"*", b"# no comment", b"tab\there", b"line\xe2\x80\xa8s"),
)


def make_tree(root: Path) -> None:
    """Make a tree with whatever a snapshot may have."""
    for number, name in enumerate(NAMES):
        path = os.path.join(os.fsencode(root), name)
        with open(path, "wb") as file:
            file.write(b"content %d\n" % number)
        os.utime(path, ns=(1, 1_600_000_000_123_456_789 + number))
    (root / "empty").touch()
    with (root / "holes").open("wb") as file:
        file.seek(8 * 1024 * 1024)
        file.write(b"in the midst")
        file.truncate(16 * 1024 * 1024)
    (root / "secret").write_text("for the owner only\n")
    (root / "secret").chmod(0o600)
    inner = root / "dir%" / ".inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("deep\n")
    (root / "no files").mkdir()
    os.link(root / "plain", inner / "hard link")
    os.symlink("plain", root / "link")
    os.symlink("/nowhere", root / "dangling")
    os.mkfifo(root / "fifo")
    os.setxattr(inner / "file", "user.note", b"\0\xff")


def table_of(root: Path) -> Table:
    """Return all entries of a tree."""
    rows: list[Row] = []
    with Tree(str(root)) as tree:
        rows += [tree.row(path, status) for path, status in tree.walk()]
    return Table().changed(whole(rows))


def statement_of(table: Table, snapshot: str = "s3", **values: object) -> Statement:
    """Return a statement about a table."""
    told: dict[str, object] = {
        "repo": "SV",
        "dataset": "zsd/SV",
        "snapshot": snapshot,
        "snapshot_guid": "4711",
        "snapshot_hash": "ab",
        "root": table.root(),
        "entries": len(table),
        "files": table.files,
        "size_bytes": table.size,
        "level": "complete",
        "verified_at": "2026-01-01T00:00:00Z",
        "request_id": "r1",
        "host": "h",
        "version": "1",
    }
    return Statement(**(told | values))  # type: ignore[arg-type]
