"""Entries brought up to date from real files, hard links among them."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.dsg import entry_tree as tree_module
from dsgmigd.dsg import manifest as manifest_module
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.dsg.scope import EVERYTHING, Scope, parse_scope
from dsgmigd.errors import InterruptedByStop, SourceUnreadable, TargetRefused, TargetUnwritable
from dsgmigd.host.directories import Directories


def refresh(
    manifest: Manifest,
    staging: Path,
    source: Path | None = None,
    *,
    user: str = "u",
    checkpoint: Callable[[], None] = lambda: None,
    scope: Scope = EVERYTHING,
    held_mtime_ns: Callable[[int], int] = lambda mtime_ns: mtime_ns,
) -> Refresher:
    with Directories(str(staging)) as target, Directories(str(source or staging)) as origin:
        refresher = Refresher(
            manifest,
            staging=target,
            source=origin,
            user=user,
            checkpoint=checkpoint,
            scope=scope,
            held_mtime_ns=held_mtime_ns,
        )
        refresher.settle_all()
    return refresher


def documents(manifest: Manifest) -> dict[str, dict[str, Any]]:
    found = [orjson.loads(entry) for entry in manifest.entries()]
    return {document.pop("path"): document for document in found}


def whole_tree(root: Path) -> Manifest:
    manifest = Manifest()
    for name in os.listdir(os.fsencode(root)):
        manifest.appeared(name)
    return manifest


def file_document(path: Path, user: str) -> dict[str, Any]:
    moment = datetime.fromtimestamp(path.stat().st_mtime, ZoneInfo("America/Los_Angeles"))
    return {
        "type": "file",
        "user": user,
        "filesize": path.stat().st_size,
        "mtime": moment.isoformat(timespec="seconds"),
        "hash": xxhash.xxh3_64_hexdigest(path.read_bytes()),
    }


def test_every_kind_of_file_gets_its_entry_or_none(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / ".hidden").mkdir()
    (tmp_path / "d" / ".hidden" / "f").touch()
    (tmp_path / "d" / "e" / "f").write_bytes(b"content")
    (tmp_path / "d" / "l").symlink_to("e/f")
    (tmp_path / "d" / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "d" / "pipe")
    os.close(os.open(os.fsencode(tmp_path) + b"/latin-\xe9", os.O_CREAT | os.O_WRONLY))
    manifest = whole_tree(tmp_path)
    refresher = refresh(manifest, tmp_path)
    assert documents(manifest) == {
        "d/e/f": file_document(tmp_path / "d" / "e" / "f", "u"),
        "d/l": {"type": "link", "user": "u", "reference": "e/f"},
    }
    assert refresher.files_hashed == 1


def test_outside_the_scope_nothing_has_an_entry_until_it_is_moved_inside(tmp_path: Path) -> None:
    scope = parse_scope(b"data_dirs: [in]")
    (tmp_path / "in").mkdir()
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "l").symlink_to("f")
    manifest = whole_tree(tmp_path)
    refresh(manifest, tmp_path, scope=scope)
    assert documents(manifest) == {}
    (tmp_path / "f").rename(tmp_path / "in/f")
    manifest.renamed(b"f", b"in/f")
    refresh(manifest, tmp_path, user="v", scope=scope)
    assert documents(manifest) == {"in/f": file_document(tmp_path / "in/f", "v")}
    (tmp_path / "in/f").rename(tmp_path / "f")
    manifest.renamed(b"in/f", b"f")
    refresh(manifest, tmp_path, scope=scope)
    assert documents(manifest) == {}


def test_what_changes_by_a_name_outside_the_scope_is_read_for_the_name_inside(
    tmp_path: Path,
) -> None:
    scope = parse_scope(b"data_dirs: [in]")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/f").write_bytes(b"content")
    (tmp_path / "g").hardlink_to(tmp_path / "in/f")
    manifest = whole_tree(tmp_path)
    refresh(manifest, tmp_path, scope=scope)
    (tmp_path / "g").write_bytes(b"changed")
    assert not manifest.content_changed(b"g"), "it is in no manifest, so its file is reported"
    manifest.link_group_changed((tmp_path / "g").stat().st_ino)
    refresh(manifest, tmp_path, user="v", scope=scope)
    assert documents(manifest) == {"in/f": file_document(tmp_path / "in/f", "v")}


def test_of_the_names_that_dsg_refuses_those_are_reported_that_are_listed(tmp_path: Path) -> None:
    (tmp_path / "in/aux").mkdir(parents=True)
    for name in ("in/aux/f", "in/nul", "in/.con", "nul"):
        (tmp_path / name).touch()
    refresher = refresh(whole_tree(tmp_path), tmp_path, scope=parse_scope(b"data_dirs: [in]"))
    assert sorted(refresher.refused) == ["in/aux/f", "in/nul"]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_what_a_renamed_directory_brings_into_the_scope_has_an_entry(
    tmp_path: Path, *, is_resumed: bool
) -> None:
    scope = parse_scope(b"data_dirs: [in]")
    (tmp_path / "x/in").mkdir(parents=True)
    (tmp_path / "x/more").mkdir()
    (tmp_path / "in").mkdir()
    for name in ("x/in/f", "x/g", "x/more/h", "x/more/.i"):
        (tmp_path / name).write_text(name)
    manifest = whole_tree(tmp_path)
    refresh(manifest, tmp_path, scope=scope)
    assert list(documents(manifest)) == ["x/in/f"]
    if is_resumed:
        entries = list(manifest.entries())
        manifest = Manifest()
        manifest.load((orjson.loads(entry)["path"].encode(), entry) for entry in entries)
    (tmp_path / "x").rename(tmp_path / "in/x")
    manifest.renamed(b"x", b"in/x")
    refresher = refresh(manifest, tmp_path, user="v", scope=scope)
    paths = ["in/x/g", "in/x/in/f", "in/x/more/h"]
    assert documents(manifest) == {path: file_document(tmp_path / path, "v") for path in paths}
    assert refresher.files_hashed == 2, "what had an entry is not read"


def test_an_entry_describes_the_source_with_the_time_that_the_target_stores(
    tmp_path: Path,
) -> None:
    source, staging = tmp_path / "source", tmp_path / "staging"
    for place in (source, staging):
        place.mkdir()
    (source / "f").write_bytes(b"what has to be")
    (staging / "f").write_bytes(b"what is")
    os.utime(staging / "f", ns=(0, 0))
    os.utime(source / "f", ns=(0, 1_999_999_999))
    manifest = whole_tree(staging)
    refresh(manifest, staging, source, held_mtime_ns=lambda mtime_ns: mtime_ns // 10**9 * 10**9)
    assert documents(manifest)["f"] == {
        "type": "file",
        "user": "u",
        "filesize": 14,
        "mtime": "1969-12-31T16:00:01-08:00",
        "hash": xxhash.xxh3_64_hexdigest(b"what has to be"),
    }


def test_times_below_the_second_round_as_dsg_rounds_them(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", ns=(0, 1399483646_999999999))
    manifest = whole_tree(tmp_path)
    refresh(manifest, tmp_path)
    assert documents(manifest)["f"]["mtime"] == "2014-05-07T10:27:27-07:00"


def test_a_touched_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    manifest = whole_tree(tmp_path)
    refresh(manifest, tmp_path)
    manifest.times_changed(b"f")
    os.utime(tmp_path / "f", ns=(0, 0))
    assert refresh(manifest, tmp_path, user="second").files_hashed == 0
    assert documents(manifest)["f"] == file_document(tmp_path / "f", "u")


def test_a_new_file_that_passed_by_whole_is_not_read(tmp_path: Path) -> None:
    """Neither side has it, so that whoever reads it fails."""
    manifest = Manifest()
    manifest.created(b"d/f")
    manifest.written(b"d/f", "0123456789abcdef", 7, 1_399_483_646_999_999_999)
    refresher = refresh(manifest, tmp_path, held_mtime_ns=lambda mtime_ns: mtime_ns // 10 * 10)
    assert documents(manifest)["d/f"] == {
        "type": "file",
        "user": "u",
        "filesize": 7,
        "mtime": "2014-05-07T10:27:27-07:00",
        "hash": "0123456789abcdef",
    }
    assert refresher.files_hashed == 1


@pytest.mark.parametrize("path", [b".f", b"d/.h/f"])
def test_what_is_known_of_an_unlisted_file_gives_it_no_entry(tmp_path: Path, path: bytes) -> None:
    manifest = Manifest()
    manifest.created(path)
    manifest.written(path, "0123456789abcdef", 7, 0)
    refresh(manifest, tmp_path)
    assert documents(manifest) == {}


def test_what_is_known_of_a_file_outside_the_scope_gives_it_no_entry(tmp_path: Path) -> None:
    manifest = Manifest()
    manifest.created(b"f")
    manifest.written(b"f", "0123456789abcdef", 7, 0)
    refresher = refresh(manifest, tmp_path, scope=parse_scope(b"data_dirs: [in]"))
    assert documents(manifest) == {}
    assert refresher.files_hashed == 0


@pytest.mark.parametrize("change", ["content", "times", "link", "linked", "rename", "copied"])
def test_what_is_known_of_a_file_is_forgotten_when_it_changes_again(
    tmp_path: Path, change: str
) -> None:
    (tmp_path / "f").write_bytes(b"content")
    manifest = Manifest()
    manifest.created(b"g" if change == "rename" else b"f")
    manifest.written(b"g" if change == "rename" else b"f", "0123456789abcdef", 9, 0)
    if change == "content":
        manifest.content_changed(b"f")
    elif change == "times":
        manifest.times_changed(b"f")
    elif change == "rename":
        manifest.renamed(b"g", b"f")
    elif change == "copied":
        manifest.appeared(b"f")
    else:
        (tmp_path / "l").hardlink_to(tmp_path / "f")
        manifest.linked(*((b"f", b"l") if change == "link" else (b"l", b"f")))
    refresh(manifest, tmp_path)
    assert documents(manifest)["f"] == file_document(tmp_path / "f", "u")


def test_what_is_known_of_a_file_is_kept_until_it_has_its_entry(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    manifest = Manifest()
    manifest.created(b"f")
    manifest.written(b"f", "0123456789abcdef", 9, 0)
    refresh(manifest, tmp_path)
    manifest.times_changed(b"f")
    refresh(manifest, tmp_path)
    found = documents(manifest)["f"]
    assert (found["filesize"], found["hash"]) == (7, "0123456789abcdef")


def test_hard_links_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    manifest = whole_tree(tmp_path)
    assert refresh(manifest, tmp_path).files_hashed == 1
    found = documents(manifest)
    assert found["a"] == found["b"] == file_document(tmp_path / "a", "u")


def test_a_link_in_the_source_is_not_followed(tmp_path: Path) -> None:
    source, staging = tmp_path / "source", tmp_path / "staging"
    for place in (source, staging):
        place.mkdir()
    (staging / "f").touch()
    (source / "f").symlink_to("/etc/passwd")
    manifest = whole_tree(staging)
    refresh(manifest, staging, source)
    assert documents(manifest) == {}, "an absolute link, which no manifest lists"


def test_a_file_missing_in_the_source_is_a_failure_of_the_source(tmp_path: Path) -> None:
    manifest = Manifest()
    manifest.created(b"absent")
    with pytest.raises(SourceUnreadable, match="'absent'"):
        refresh(manifest, tmp_path)


def test_a_hard_link_missing_in_staging_is_a_failure_of_the_target(
    tmp_path: Path,
) -> None:
    source, staging = tmp_path / "source", tmp_path / "staging"
    for place in (source, staging):
        place.mkdir()
    (source / "f").touch()
    (source / "g").hardlink_to(source / "f")
    with pytest.raises(TargetUnwritable, match="'f'"):
        refresh(whole_tree(source), staging, source)


def test_the_checkpoint_may_stop_it_at_any_entry(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedByStop

    (tmp_path / "f").touch()
    with pytest.raises(InterruptedByStop):
        refresh(whole_tree(tmp_path), tmp_path, checkpoint=stop)


def test_the_checkpoint_is_called_for_every_piece_of_a_file(tmp_path: Path) -> None:
    calls: list[None] = []
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    refresh(whole_tree(tmp_path), tmp_path, checkpoint=lambda: calls.append(None))
    assert len(calls) == 1 + 3  # for the entry, and for each MiB or part of it


# A model of hard links: each name of a file may report a change.

NAMES = [b"a", b"b", b".h", b"d/a", b"d/b"]
Operation = tuple[str, bytes, bytes, bytes]
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "link", "link", "write", "touch", "unlink", "rename"]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.binary(max_size=2),
    ),
    max_size=6,
)


class Tree:
    """A directory that is changed, and a manifest that receives each change as from a replay."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = Manifest()
        self.clock = 1_400_000_000
        (root / "d").mkdir()
        self.manifest.created_directory(b"d")
        self.users: dict[str, tuple[str, bytes]] = {}

    def at(self, path: bytes) -> bytes:
        return os.fsencode(self.root) + b"/" + path

    def apply(self, operation: str, path: bytes, other: bytes, text: bytes) -> None:
        is_there, is_other_there = (os.path.lexists(self.at(one)) for one in (path, other))
        match operation:
            case "create" if not is_there:
                self._set_content(path, text)
                self.manifest.created(path)
            case "link" if is_there and not is_other_there:
                os.link(self.at(path), self.at(other))
                self.manifest.linked(path, other)
            case "write" if is_there:
                self._set_content(path, text)
                self._tell(path, is_followed=self.manifest.content_changed(path))
            case "unlink" if is_there:
                os.unlink(self.at(path))
                self.manifest.removed(path)
            case "rename" if is_there and not is_other_there:
                os.rename(self.at(path), self.at(other))
                self.manifest.renamed(path, other)
            case "touch" if is_there:
                self._set_time(path)

    def _set_content(self, path: bytes, text: bytes) -> None:
        with open(self.at(path), "wb") as file:
            file.write(text)
        self._set_time(path)

    def _set_time(self, path: bytes) -> None:
        self.clock += 1
        os.utime(self.at(path), (self.clock, self.clock))
        self._tell(path, is_followed=self.manifest.times_changed(path))

    def _tell(self, path: bytes, *, is_followed: bool) -> None:
        status = os.stat(self.at(path))
        if not is_followed and status.st_nlink > 1:
            self.manifest.link_group_changed(status.st_ino)

    def expected(self, user: str) -> dict[str, dict[str, Any]]:
        """Return the documents of what is there now, which `user` pushed, and end the step."""
        found, users = {}, {}
        for path in self._listed():
            content = (self.root / path).read_bytes()
            before = self.users.get(path)
            users[path] = before if before and before[1] == content else (user, content)
            found[path] = file_document(self.root / path, users[path][0])
        self.users = users
        return found

    def _listed(self) -> Iterable[str]:
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if not str(path).startswith("."))

    def reload(self) -> None:
        """Take the manifest up from its entries, as a resumed run does."""
        entries = list(self.manifest.entries())
        self.manifest = Manifest()
        self.manifest.load((orjson.loads(entry)["path"].encode(), entry) for entry in entries)
        for path in self.root.rglob("*"):
            status = path.lstat()
            if path.is_file() and status.st_nlink > 1:
                self.manifest.load_link(os.fsencode(path.relative_to(self.root)), status.st_ino)


def test_a_time_beyond_the_year_9999_is_named_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").touch()

    def no_year(_: float) -> str:
        raise OverflowError

    monkeypatch.setattr("dsgmigd.dsg.entry.local_time", no_year)
    with pytest.raises(TargetRefused, match=r"'f'.*outside the range of years"):
        refresh(whole_tree(tmp_path), tmp_path)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.booleans(), OPERATIONS), max_size=4),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([0, 2, 1000]),
)
def test_every_name_of_a_file_has_its_content_whichever_name_was_changed(
    steps: list[tuple[bool, list[Operation]]], at_once: int, in_memory: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_module, "_SETTLED_AT_ONCE", at_once)
        patch.setattr(tree_module, "_CHANGES_IN_MEMORY", in_memory)
        tree = Tree(Path(directory))
        for number, (is_resumed, operations) in enumerate(steps):
            if is_resumed:
                tree.reload()
            for operation in operations:
                tree.apply(*operation)
            refresh(tree.manifest, tree.root, user=f"user {number}")
            assert documents(tree.manifest) == tree.expected(f"user {number}")


@pytest.mark.parametrize("is_resumed", [False, True])
@pytest.mark.parametrize("change", ["touch", "write"])
def test_a_change_through_one_name_reaches_the_other(
    tmp_path: Path, change: str, *, is_resumed: bool
) -> None:
    tree = Tree(tmp_path)
    tree.apply("create", b"d/a", b"", b"x")
    refresh(tree.manifest, tmp_path, user="first")
    assert documents(tree.manifest) == tree.expected("first")
    tree.apply("link", b"d/a", b"b", b"")
    refresh(tree.manifest, tmp_path, user="second")
    assert documents(tree.manifest) == tree.expected("second")
    if is_resumed:
        tree.reload()
    tree.apply(change, b"b", b"", b"y")
    refresh(tree.manifest, tmp_path, user="third")
    assert documents(tree.manifest) == tree.expected("third")


@pytest.mark.parametrize("new_name", [b"a", b"d/z"])
def test_content_changed_through_a_new_name_reaches_the_old_one_in_the_same_step(
    tmp_path: Path, new_name: bytes
) -> None:
    tree = Tree(tmp_path)
    tree.apply("create", b"d/b", b"", b"old")
    refresh(tree.manifest, tmp_path, user="first")
    assert documents(tree.manifest) == tree.expected("first")
    tree.apply("link", b"d/b", new_name, b"")
    tree.apply("write", new_name, b"", b"new")
    refresh(tree.manifest, tmp_path, user="second")
    assert documents(tree.manifest) == tree.expected("second")


@pytest.mark.parametrize("names", [[b".h"], [b"d/b", b".h"]])
def test_content_changed_through_a_new_hidden_name_reaches_the_listed_one(
    tmp_path: Path, names: list[bytes]
) -> None:
    tree = Tree(tmp_path)
    tree.apply("create", b"a", b"", b"old")
    refresh(tree.manifest, tmp_path, user="first")
    assert documents(tree.manifest) == tree.expected("first")
    tree.apply("link", b"a", names[0], b"")
    for before, after in itertools.pairwise(names):
        tree.apply("rename", before, after, b"")
    tree.apply("write", names[-1], b"", b"new")
    refresh(tree.manifest, tmp_path, user="second")
    assert documents(tree.manifest) == tree.expected("second")


@pytest.mark.parametrize("is_resumed", [False, True])
@pytest.mark.parametrize(
    ("operation", "path"), [("rename", b"d"), ("rename", b"d/a"), ("unlink", b"d/a")]
)
@pytest.mark.parametrize("change", ["touch", "write"])
def test_a_change_through_a_name_that_then_leaves_the_manifest_reaches_the_others(
    tmp_path: Path, operation: str, path: bytes, change: str, *, is_resumed: bool
) -> None:
    tree = Tree(tmp_path)
    tree.apply("create", b"d/a", b"", b"old")
    tree.apply("link", b"d/a", b"b", b"")
    refresh(tree.manifest, tmp_path, user="first")
    assert documents(tree.manifest) == tree.expected("first")
    if is_resumed:
        tree.reload()
    tree.apply(change, b"d/a", b"", b"new")
    tree.apply(operation, path, b".h", b"")
    refresh(tree.manifest, tmp_path, user="second")
    assert documents(tree.manifest) == tree.expected("second")
