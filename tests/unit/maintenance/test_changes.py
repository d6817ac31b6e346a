"""What happened to paths, from manifests alone: compared with a model that goes forward."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.maintenance.changes import Event, backward, count_changes, trace

Tree = dict[str, str]


class Manifest:
    """Entries of one snapshot; the content `-> x` is that of a link to x."""

    def __init__(self, tree: Tree, number: int) -> None:
        self._entries = {path: entry_of(path, tree[path], number) for path in sorted(tree)}

    def entry_at(self, path: str) -> bytes | None:
        return self._entries.get(path)

    def lines(self) -> Iterator[tuple[str, bytes]]:
        return iter(self._entries.items())


def entry_of(path: str, content: str, number: int) -> bytes:
    """Return an entry; its time is another in every snapshot, which is no change."""
    if content.startswith("->"):
        document = {"type": "link", "path": path, "user": "ana", "reference": content[3:]}
    else:
        document = {"type": "file", "path": path, "mtime": str(number), "hash": content}
    return orjson.dumps(document)


class Series:
    """Manifests by number; it counts how often each is read."""

    def __init__(self, *trees: Tree) -> None:
        self.trees = trees
        self.reads: Counter[int] = Counter()

    def read(self, number: int) -> Manifest:
        self.reads[number] += 1
        return Manifest(self.trees[number - 1], number)

    def trace(self, path: str) -> list[tuple[int, str, str, str | None]]:
        found = trace(path, len(self.trees), self.read)
        return [(one.snapshot, one.what, one.path, one.path_before) for one in found]

    def counts(self) -> list[tuple[int, ...]]:
        """Return added, modified, renamed, deleted of each snapshot, the oldest first."""
        steps = backward(len(self.trees), self.read)
        return [astuple(count_changes(step)) for step in steps][::-1]


def model_events(trees: tuple[Tree, ...]) -> list[tuple[Event, int]]:
    """Return every event, with the number of the life that it belongs to.

    A life begins when a path is added and goes on through renames.
    """
    numbers = itertools.count()
    lives: dict[str, int] = {}
    events = []
    for number, (before, now) in enumerate(itertools.pairwise(({}, *trees)), start=1):
        came = sorted(now.keys() - before.keys())
        went = sorted(before.keys() - now.keys())
        pairs: list[tuple[str, str]] = []
        for content in {now[path] for path in came}:
            pairs += zip(
                [path for path in went if before[path] == content],
                [path for path in came if now[path] == content],
                strict=False,
            )
        after = {path: lives[path] for path in now.keys() & before.keys()}
        for old, new in pairs:
            after[new] = lives[old]
            events.append((Event(number, "renamed", new, old), after[new]))
        for path in set(came) - {new for _, new in pairs}:
            after[path] = next(numbers)
            events.append((Event(number, "added", path), after[path]))
        gone = set(went) - {old for old, _ in pairs}
        events += [(Event(number, "deleted", path), lives[path]) for path in gone]
        changed = [path for path in now.keys() & before.keys() if now[path] != before[path]]
        events += [(Event(number, "modified", path), lives[path]) for path in changed]
        lives = after
    return events


def model_trace(trees: tuple[Tree, ...], path: str) -> set[Event]:
    """Return the events of all lives that were at `path` once."""
    events = model_events(trees)
    there = {life for event, life in events if path in {event.path, event.path_before}}
    return {event for event, life in events if life in there}


PATHS = st.sampled_from(["a", "b", "c/d", "c"])
TREES = st.dictionaries(PATHS, st.sampled_from(["0", "1", "-> 1"]))


@given(st.lists(TREES, min_size=1, max_size=7), PATHS)
def test_every_file_that_ever_was_at_a_path_is_followed(trees: list[Tree], path: str) -> None:
    series = Series(*trees)
    found = trace(path, len(trees), series.read)
    assert set(found) == model_trace(series.trees, path)
    assert [one.snapshot for one in found] == sorted(one.snapshot for one in found)
    assert len(found) == len(set(found))


@given(st.lists(TREES, min_size=1, max_size=7))
def test_counts_are_those_of_the_events(trees: list[Tree]) -> None:
    series = Series(*trees)
    what = Counter((event.snapshot, str(event.what)) for event, _ in model_events(series.trees))
    kinds = ("added", "modified", "renamed", "deleted")
    assert series.counts() == [
        tuple(what[number, kind] for kind in kinds) for number in range(1, len(trees) + 1)
    ]
    assert set(series.reads.values()) == {1}


RENAMED: tuple[Tree, ...] = (
    {"old": "1", "other": "x"},
    {"old": "2", "other": "x"},
    {"new": "2", "other": "x"},
    {"new": "3", "other": "x"},
    {"other": "x"},
)


@pytest.mark.parametrize("path", ["old", "new"])
def test_a_file_is_found_by_each_of_its_names(path: str) -> None:
    assert Series(*RENAMED).trace(path) == [
        (1, "added", "old", None),
        (2, "modified", "old", None),
        (3, "renamed", "new", "old"),
        (4, "modified", "new", None),
        (5, "deleted", "new", None),
    ]


def test_every_manifest_is_read_once_unless_a_file_went_on_under_another_name() -> None:
    series = Series(*RENAMED)
    series.trace("new")
    assert series.reads == dict.fromkeys((1, 2, 3, 4, 5), 1)
    series.trace("old")
    assert series.reads == {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}


def test_another_file_that_had_the_old_name_earlier_or_later_is_left_out() -> None:
    trees: tuple[Tree, ...] = (
        {"old": "1"},
        {},
        {"old": "2"},
        {"new": "2"},
        {"new": "2", "old": "3"},
    )
    assert Series(*trees).trace("new") == [
        (3, "added", "old", None),
        (4, "renamed", "new", "old"),
    ]
    assert [event[0] for event in Series(*trees).trace("old")] == [1, 2, 3, 4, 5]


def test_a_path_that_was_never_there_has_no_events() -> None:
    assert Series(*RENAMED).trace("ol") == []


def test_a_copy_is_no_rename_and_neither_is_what_lands_on_another_file() -> None:
    series = Series({"a": "1", "b": "2"}, {"a": "1", "b": "1", "c": "1"}, {"c": "2", "b": "1"})
    assert series.counts() == [(2, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 1)]


def test_a_link_that_takes_the_place_of_a_file_modifies_it() -> None:
    assert Series({"a": "1"}, {"a": "-> 1"}, {"a": "-> 2"}).trace("a") == [
        (1, "added", "a", None),
        (2, "modified", "a", None),
        (3, "modified", "a", None),
    ]


def test_no_more_than_two_manifests_are_alive_at_once() -> None:
    alive = most = 0

    class Counted(Manifest):
        def __init__(self, tree: Tree, number: int) -> None:
            nonlocal alive, most
            super().__init__(tree, number)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def read(number: int) -> Manifest:
        return Counted(RENAMED[number - 1], number)

    for path in ("old", "new"):
        trace(path, 5, read)
    for step in backward(5, read):
        count_changes(step)
    assert most == 2
