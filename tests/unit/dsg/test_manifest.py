"""The tree of entries against a model that knows everything and forgets nothing.

The model is a dictionary of all paths. Snapshots are steps of random operations; after each, the
entries must be the model's, and an entry's user the one who pushed the snapshot in which its path,
content or link target last changed against the snapshot before.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.dsg import entry_tree as tree_module
from dsgmigd.dsg import lines as lines_module
from dsgmigd.dsg import manifest as manifest_module
from dsgmigd.dsg.entry import describe, link_entry
from dsgmigd.dsg.lines import split_line
from dsgmigd.dsg.manifest import Manifest, StaleEntry
from dsgmigd.dsg.stale import Staleness

IGNORED = (".h", "x.pyc")
NAMES = ["a", "b", "a.b", "a-", *IGNORED]
# Whether a manifest lists the last one depends on the depth at which it is.
TARGETS = ["x", "/abs", "../../../x"]


@dataclass
class Node:
    """Something at a path: a directory (None, None), a file with content or a link."""

    content: int | None = None
    target: str | None = None
    mtime: int = 0

    @property
    def is_directory(self) -> bool:
        return self.content is None and self.target is None


@dataclass
class Model:
    nodes: dict[str, Node] = field(default_factory=dict)
    users: dict[str, tuple[str, int | str | None]] = field(default_factory=dict)
    clock: int = 0

    def is_directory(self, path: str) -> bool:
        return not path or (path in self.nodes and self.nodes[path].is_directory)

    def is_free(self, path: str) -> bool:
        return path not in self.nodes and self.is_directory(path.rpartition("/")[0])

    def below(self, path: str) -> list[str]:
        return [one for one in self.nodes if one.startswith(path + "/")]

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def entries(self, user: str) -> list[bytes]:
        """Return the entries after a step that `user` pushed."""
        found, users = {}, {}
        for path, node in self.nodes.items():
            if node.is_directory or not is_listed(path, node):
                continue
            what = node.content if node.target is None else node.target
            before = self.users.get(path)
            users[path] = before if before and before[1] == what else (user, what)
            found[path.encode()] = orjson.dumps(document_of(path, node, users[path][0]))
        self.users = users
        return [found[path] for path in sorted(found)]


def is_listed(path: str, node: Node) -> bool:
    if any(part in IGNORED for part in path.split("/")):
        return False
    if node.target is None:
        return True
    return node.target != "/abs" and node.target.count("..") <= path.count("/") + 1


def document_of(path: str, node: Node, user: str) -> dict[str, Any]:
    if node.target is not None:
        return {"type": "link", "path": path, "user": user, "reference": node.target}
    moment = datetime.fromtimestamp(node.mtime, ZoneInfo("America/Los_Angeles"))
    return {
        "type": "file",
        "path": path,
        "user": user,
        "filesize": node.content,
        "mtime": moment.isoformat(timespec="seconds"),
        "hash": f"{node.content:016x}",
    }


class Step:
    """The operations between two snapshots, done in the model and told to the manifest."""

    def __init__(self, model: Model, manifest: Manifest) -> None:
        self.model = model
        self.manifest = manifest
        self.appearing: dict[str, None] = {}

    def apply(self, operation: str, path: str, other: str, number: int) -> None:
        if not any(
            (one + "/").startswith(new + "/") for one in (path, other) for new in self.appearing
        ):
            getattr(self, operation)(path, other, number)

    def create(self, path: str, _: str, number: int) -> None:
        if self.model.is_free(path):
            self.model.nodes[path] = Node(content=number, mtime=self.model.tick())
            self.manifest.created(path.encode())

    def make_link(self, path: str, _: str, number: int) -> None:
        if self.model.is_free(path):
            self.model.nodes[path] = Node(target=TARGETS[number])
            self.manifest.created(path.encode())

    def make_directory(self, path: str, _: str, __: int) -> None:
        if self.model.is_free(path):
            self.model.nodes[path] = Node()
            self.manifest.created_directory(path.encode())

    def edit(self, path: str, _: str, number: int) -> None:
        node = self.model.nodes.get(path)
        if node and node.content is not None:
            node.content, node.mtime = number, self.model.tick()
            self.manifest.content_changed(path.encode())
            self.manifest.times_changed(path.encode())

    def touch(self, path: str, _: str, __: int) -> None:
        node = self.model.nodes.get(path)
        if node and node.content is not None:
            node.mtime = self.model.tick()
        self.manifest.times_changed(path.encode())

    def remove(self, path: str, _: str, __: int) -> None:
        if path in self.model.nodes and not self._appears_there(path):
            for one in [*self.model.below(path), path]:
                del self.model.nodes[one]
            self.manifest.removed(path.encode())

    def rename(self, old: str, new: str, _: int) -> None:
        nodes = self.model.nodes
        if old not in nodes or (new + "/").startswith(old + "/") or self._appears_there(old):
            return
        is_over = new in nodes and not nodes[new].is_directory and not nodes[old].is_directory
        if is_over or self.model.is_free(new):
            for one in [old, *self.model.below(old)]:
                nodes[new + one[len(old) :]] = nodes.pop(one)
            self.manifest.renamed(old.encode(), new.encode())

    def appear(self, path: str, _: str, number: int) -> None:
        """Let a tree come from outside the stream; the manifest gets it at the end."""
        if self.model.is_free(path):
            self.model.nodes[path] = Node()
            for name in ("a", ".h"):
                self.model.nodes[f"{path}/{name}"] = Node(content=number, mtime=self.model.tick())
            self.appearing[path] = None

    def _appears_there(self, path: str) -> bool:
        """Say whether something that the manifest does not know yet would go with `path`."""
        return any((f"{one}/").startswith(f"{path}/") for one in self.appearing)

    def finish(self, user: str) -> None:
        for path in self.appearing:
            self.manifest.appeared(path.encode())
        settle_all(self.model, self.manifest, user)


def settle_all(model: Model, manifest: Manifest, user: str) -> None:
    while manifest.has_stale():
        for stale in manifest.take_stale():
            settle(model, manifest, stale, user)
    manifest.finish_step()


def settle(model: Model, manifest: Manifest, stale: StaleEntry, user: str) -> None:
    path = stale.path.decode()
    node = model.nodes[path]
    if node.is_directory:
        names = [one[len(path) + 1 :] for one in model.below(path)]
        manifest.settle_directory(stale, [name.encode() for name in names if "/" not in name])
    elif node.target is not None:
        manifest.settle_link(stale, user=user, reference=node.target.encode())
    else:
        manifest.settle_file(
            stale,
            user=user,
            size=node.content or 0,
            mtime=node.mtime,
            digest=f"{node.content:016x}" if stale.needs_content else None,
        )


def loaded(entries: list[bytes]) -> Manifest:
    """Return a manifest as a resumed run builds it."""
    manifest = Manifest()
    manifest.load((orjson.loads(entry)["path"].encode(), entry) for entry in entries)
    return manifest


def reread(model: Model, before: Manifest) -> Manifest:
    """Return a manifest as a step by rsync builds it, which receives no change."""
    manifest = Manifest()
    manifest.remember_entries(before)
    for path in model.nodes:
        if "/" not in path:
            manifest.appeared(path.encode())
    return manifest


PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
OPERATIONS = st.tuples(
    st.sampled_from(
        [
            "create",
            "create",
            "make_directory",
            "make_directory",
            "make_link",
            "edit",
            "touch",
            "remove",
            "rename",
            "rename",
            "appear",
        ]
    ),
    PATHS,
    PATHS,
    st.integers(0, 2),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["follow", "load", "reread"]),
        st.lists(OPERATIONS, max_size=10),
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(STEPS, st.sampled_from([1, 2, 1000]), st.sampled_from([0, 2, 5, 1000]))
def test_entries_and_users_are_the_models_after_every_step_however_it_was_taken(
    steps: list[tuple[str, list[tuple[str, str, str, int]]]], at_once: int, in_memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_module, "_CHANGES_IN_MEMORY", in_memory)
        patch.setattr(lines_module, "_BLOCK_LINES", 2)
        patch.setattr(manifest_module, "_SETTLED_AT_ONCE", at_once)
        take_steps(steps)


def take_steps(steps: list[tuple[str, list[tuple[str, str, str, int]]]]) -> None:
    model, manifest = Model(), Manifest()
    entries: list[bytes] = []
    for number, (way, operations) in enumerate(steps):
        user = f"user {number}"
        if way == "load":
            manifest = loaded(entries)
        step = Step(model, manifest)
        for operation in operations:
            step.apply(*operation)
        if way == "reread":
            manifest = reread(model, loaded(entries))
            settle_all(model, manifest, user)
        else:
            step.finish(user)
        entries = list(manifest.entries())
        assert entries == model.entries(user)
        assert entries_of_lines(manifest) == entries


def entries_of_lines(manifest: Manifest) -> list[bytes]:
    lines = b",\n".join(manifest.lines())
    return [split_line(line)[1] for line in lines.split(b",\n")] if lines else []


# The same by hand, where a name says more than a model.


def written(*files: str, user: str = "first") -> tuple[Model, Manifest]:
    model, manifest = Model(), Manifest()
    step = Step(model, manifest)
    for number, path in enumerate(files):
        for end, character in enumerate(path):
            if character == "/":
                step.apply("make_directory", path[:end], "", 0)
        step.apply("create", path, "", number)
    step.finish(user)
    assert list(manifest.entries()) == model.entries(user)
    return model, manifest


def users_of(manifest: Manifest) -> dict[str, str]:
    documents = [orjson.loads(entry) for entry in manifest.entries()]
    return {document["path"]: document["user"] for document in documents}


def test_entries_are_sorted_bytewise_by_whole_path() -> None:
    _, manifest = written("a/b", "a.b", "a-", "a0", "ä", "a/é", "B")
    assert list(users_of(manifest)) == ["B", "a-", "a.b", "a/b", "a/é", "a0", "ä"]


@pytest.mark.parametrize(
    ("operation", "user"), [("edit", "second"), ("touch", "first"), ("remove", None)]
)
def test_only_a_change_of_content_changes_the_user(operation: str, user: str | None) -> None:
    model, manifest = written("f")
    step = Step(model, manifest)
    step.apply(operation, "f", "", 9)
    step.finish("second")
    assert users_of(manifest).get("f") == user


@pytest.mark.parametrize("is_resumed", [False, True])
def test_what_is_listed_only_at_its_new_path_is_found_there(*, is_resumed: bool) -> None:
    model, manifest = written("d/f", "d/d/f")
    step = Step(model, manifest)
    step.apply("make_link", "d/d/l", "", 2)
    step.apply("make_link", "d/l", "", 2)
    step.apply("make_directory", "e", "", 0)
    step.finish("second")
    assert list(users_of(manifest)) == ["d/d/f", "d/d/l", "d/f"]
    if is_resumed:
        manifest = loaded(list(manifest.entries()))
    step = Step(model, manifest)
    step.apply("rename", "d", "e/d", 0)
    step.finish("third")
    assert list(users_of(manifest)) == ["e/d/d/f", "e/d/d/l", "e/d/f", "e/d/l"]


def test_content_that_was_changed_and_changed_back_keeps_its_user() -> None:
    model, manifest = written("f")
    step = Step(model, manifest)
    step.apply("edit", "f", "", 9)
    step.apply("edit", "f", "", 0)
    step.finish("second")
    assert users_of(manifest) == {"f": "first"}


def test_a_file_that_is_replaced_by_an_equal_one_keeps_its_user() -> None:
    model, manifest = written("f")
    step = Step(model, manifest)
    step.apply("create", "new", "", 0)
    step.apply("rename", "new", "f", 0)
    step.finish("second")
    assert users_of(manifest) == {"f": "first"}


def test_a_renamed_file_belongs_to_the_user_who_renamed_it() -> None:
    model, manifest = written("d/f")
    step = Step(model, manifest)
    step.apply("rename", "d", "e", 0)
    step.finish("second")
    assert users_of(manifest) == {"e/f": "second"}


def test_a_file_that_went_away_and_came_back_in_one_step_keeps_its_user() -> None:
    model, manifest = written("d/f")
    step = Step(model, manifest)
    for old, new in (("d", "o257-7-0"), ("o257-7-0", ".h"), (".h", "d")):
        step.apply("rename", old, new, 0)
    step.finish("second")
    assert users_of(manifest) == {"d/f": "first"}


def test_a_file_that_returns_after_a_snapshot_without_it_belongs_to_the_user_who_pushed_it() -> (
    None
):
    model, manifest = written("f")
    for operation, user in (("remove", "second"), ("create", "third")):
        step = Step(model, manifest)
        step.apply(operation, "f", "", 0)
        step.finish(user)
    assert users_of(manifest) == {"f": "third"}


def test_two_files_that_swap_names_belong_to_the_user_who_swapped_them() -> None:
    model, manifest = written("a", "b")
    step = Step(model, manifest)
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        step.apply("rename", old, new, 0)
    step.finish("second")
    assert users_of(manifest) == {"a": "second", "b": "second"}


def test_a_step_settles_what_changed_and_nothing_else() -> None:
    model, manifest = written("a", "b", "d/c")
    step = Step(model, manifest)
    step.apply("edit", "b", "", 5)
    step.apply("touch", "d/c", "", 0)
    stale = manifest.take_stale()
    assert [(one.path, one.needs_content) for one in stale] == [(b"b", True), (b"d/c", False)]


def test_many_stale_entries_are_settled_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "_SETTLED_AT_ONCE", 2)
    manifest = Manifest()
    for name in (b"a", b"b", b"c"):
        manifest.created(name)
    assert [one.path for one in manifest.take_stale()] == [b"a", b"b"]
    assert manifest.has_stale()
    assert [one.path for one in manifest.take_stale()] == [b"c"]
    assert not manifest.has_stale()


def test_a_renamed_file_is_not_read_again() -> None:
    model, manifest = written("a")
    step = Step(model, manifest)
    step.apply("rename", "a", "b", 0)
    assert [one.needs_content for one in manifest.take_stale()] == [False]


def test_what_gets_no_entry_is_settled_once() -> None:
    manifest = Manifest()
    manifest.created(b"device")
    (stale,) = manifest.take_stale()
    manifest.settle_unlisted(stale)
    assert list(manifest.entries()) == []
    assert not manifest.has_stale()
    assert not manifest.times_changed(b"device"), "its other names must be looked for"


def test_an_entry_without_any_digest_is_an_error() -> None:
    manifest = Manifest()
    manifest.created(b"f")
    (stale,) = manifest.take_stale()
    with pytest.raises(ValueError, match="no digest for b'f'"):
        manifest.settle_file(stale, user="u", size=0, mtime=0, digest=None)


@pytest.mark.parametrize("path", [b".hidden", b"d/.h/f", b"x.pyc", b"latin-\xe9"])
def test_a_path_that_no_manifest_lists_is_not_loaded(path: bytes) -> None:
    with pytest.raises(ValueError, match="no manifest lists"):
        Manifest().load([(path, b"{}")])


def test_all_known_names_of_a_changed_file_are_stale() -> None:
    _, manifest = written("a", "b", "c")
    for path in (b"a", b"b"):
        manifest.join_link_group(path, 77)
    manifest.mark_link_group(77, Staleness.CONTENT)
    manifest.mark_link_group(78, Staleness.CONTENT)
    assert [(one.path, one.needs_content) for one in manifest.take_stale()] == [
        (b"a", True),
        (b"b", True),
    ]


def test_a_name_of_a_changed_file_that_is_gone_stays_gone() -> None:
    _, manifest = written("a", "b")
    for path in (b"a", b"b"):
        manifest.join_link_group(path, 77)
    manifest.removed(b"b")
    manifest.mark_link_group(77, Staleness.ATTRIBUTES)
    assert [one.path for one in manifest.take_stale()] == [b"a"]


class CountingManifest(Manifest):
    marked = 0

    def _mark(self, path: bytes, staleness: Staleness) -> bool:
        self.marked += 1
        return super()._mark(path, staleness)


@pytest.mark.parametrize("action", ["removed", "renamed", "changed unlisted"])
def test_the_names_of_one_file_are_marked_once_however_many_of_them_change(action: str) -> None:
    count = 300
    manifest = CountingManifest()
    paths = [b"f%d" % number for number in range(count)]
    manifest.load((path, link_entry(path, user="u", reference="x")) for path in paths)
    for path in paths:
        manifest.load_link(path, 77)
    manifest.content_changed(b"f0")
    for number in range(count):
        match action:
            case "removed":
                manifest.removed(b"f%d" % number)
            case "renamed":
                manifest.renamed(b"f%d" % number, b".hidden%d" % number)
            case _:
                manifest.link_group_changed(77)
    assert manifest.marked <= 3 * count


def test_a_group_of_names_that_was_read_is_marked_again() -> None:
    _, manifest = written("a", "b")
    for path in (b"a", b"b"):
        manifest.join_link_group(path, 77)
    for _ in range(2):
        manifest.link_group_changed(77)
        stale = manifest.take_stale()
        assert [one.path for one in stale] == [b"a", b"b"]
        manifest.settle_file(stale[0], user="u", size=1, mtime=0.0, digest="0" * 16)
        manifest.link_group_changed(77)
        assert [one.path for one in manifest.take_stale()] == [b"a", b"b"]
        for one in stale:
            manifest.settle_file(one, user="u", size=1, mtime=0.0, digest="0" * 16)


def test_a_name_that_was_read_and_goes_leaves_the_others_as_they_are() -> None:
    _, manifest = written("a", "b")
    for path in (b"a", b"b"):
        manifest.join_link_group(path, 77)
    manifest.content_changed(b"a")
    for one in manifest.take_stale():
        manifest.settle_file(one, user="u", size=1, mtime=0.0, digest="0" * 16)
    manifest.finish_step()
    manifest.removed(b"a")
    assert manifest.take_stale() == []


@pytest.mark.parametrize(("old", "new"), [(b"d/a", b"d/c"), (b"d", b"e")])
def test_a_renamed_name_still_belongs_to_the_others(old: bytes, new: bytes) -> None:
    _, manifest = written("d/a", "b")
    for path in (b"d/a", b"b"):
        manifest.join_link_group(path, 77)
    manifest.renamed(old, new)
    manifest.link_group_changed(77)
    stale = {one.path: one.needs_content for one in manifest.take_stale()}
    assert (stale[b"b"], stale.get(b"d/c"), stale.get(b"e/a")) in [
        *((True, True, None), (True, None, True))
    ]


def test_what_comes_back_to_its_path_is_not_read_again() -> None:
    _, manifest = written("d/f", "d/g")
    manifest.renamed(b"d", b"t")
    manifest.renamed(b"t", b"d")
    (stale,) = manifest.take_stale()
    assert stale.path == b"d"
    manifest.settle_directory(stale, [b"f", b"g", b"new", b".hidden"])
    assert [one.path for one in manifest.take_stale()] == [b"d/new"]


def test_what_appears_again_unchanged_keeps_the_user_who_pushed_it() -> None:
    manifest = Manifest()
    settled = {"size": 1, "mtime": 0.0, "digest": "0" * 16}
    for user in ("first", "second"):
        manifest.appeared(b"a")
        (stale,) = manifest.take_stale()
        manifest.settle_file(stale, user=user, **settled)  # type: ignore[arg-type]
        manifest.finish_step()
    (entry,) = manifest.entries()
    assert describe(entry).user == "first"
