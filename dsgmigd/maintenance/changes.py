"""What happened to the files of a series of snapshots, from its manifests alone.

A file or link changed when its content or its target did; times and users are no change. What came
is *renamed* from what went when both did so in one snapshot and have one content; if several do,
they are paired in the order of their paths. So a snapshot's counts and a path's events agree.

A manifest is asked as `Entries`; no more than two are held at a time. Only the errors of the
caller's `read` leave this module.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

What = Literal["added", "modified", "renamed", "deleted"]


class Entries(Protocol):
    """The entries of one manifest, each as its JSON."""

    def entry_at(self, path: str) -> bytes | None:
        """Return the entry at `path`, if there is one."""

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of all, sorted by path."""


@dataclass(frozen=True)
class Counts:
    """How many paths changed in one snapshot; a renamed one counts once."""

    added: int
    modified: int
    renamed: int
    deleted: int


@dataclass(frozen=True)
class Event:
    """What one snapshot did to one path; `path_before` is where a renamed one stood."""

    snapshot: int
    what: What
    path: str
    path_before: str | None = None


@dataclass
class Transition:
    """The manifests of a snapshot and of the one before it.

    One object goes from snapshot to snapshot, so that nobody holds what it has left behind.
    """

    number: int
    before: Entries
    now: Entries


class _Nothing:
    """What was there before the first snapshot."""

    def entry_at(self, _path: str) -> None:
        return None

    def lines(self) -> Iterator[tuple[str, bytes]]:
        return iter(())


Read = Callable[[int], Entries]


def backward(last: int, read: Read) -> Iterator[Transition]:
    """Yield the transitions from snapshot `last` down to the first; `read` returns a manifest."""
    transition = Transition(last + 1, before=read(last), now=_Nothing())
    for number in range(last, 0, -1):
        transition.number, transition.now = number, transition.before
        transition.before = read(number - 1) if number > 1 else _Nothing()
        yield transition


def forward(first: int, last: int, read: Read) -> Iterator[Transition]:
    """Yield the transitions from snapshot `first` to `last`; `first` has one before it."""
    if first > last:
        return
    transition = Transition(first - 1, before=_Nothing(), now=read(first - 1))
    for number in range(first, last + 1):
        transition.number, transition.before = number, transition.now
        transition.now = read(number)
        yield transition


def count_changes(transition: Transition) -> Counts:
    """Count what a snapshot changed."""
    if isinstance(transition.before, _Nothing):
        return Counts(sum(1 for _ in transition.now.lines()), 0, 0, 0)
    modified = 0
    came: Counter[tuple[str, ...]] = Counter()
    went: Counter[tuple[str, ...]] = Counter()
    for _, old, new in _differing(transition):
        if old is None:
            came[_content_of(new)] += 1
        elif new is None:
            went[_content_of(old)] += 1
        else:
            modified += _content_of(old) != _content_of(new)
    renamed = (came & went).total()
    return Counts(came.total() - renamed, modified, renamed, went.total() - renamed)


def trace(path: str, last: int, read: Read) -> list[Event]:
    """Return, the oldest first, what happened to all that ever stood at `path`.

    That is followed through its renames, to the names before and to those afterwards.
    """
    found: set[Event] = set()
    went_on = _trace_back(path, backward(last, read), found)
    if went_on:
        _trace_on(went_on, forward(min(went_on) + 1, last, read), found)
    return sorted(found, key=lambda event: (event.snapshot, event.path))


def _trace_back(
    path: str, transitions: Iterator[Transition], found: set[Event]
) -> dict[int, set[str]]:
    """Add to `found`; return what was renamed to names not looked at, and in which snapshot."""
    names = {path}  # to `path` something else may have come earlier: it stays
    went_on: dict[int, set[str]] = {}
    for transition in transitions:
        known = frozenset(names)
        for name in known:
            event = _event_at(name, transition)
            if event is None:
                continue
            found.add(event)
            if event.path_before == name:
                if event.path not in known:
                    went_on.setdefault(event.snapshot, set()).add(event.path)
            elif event.what != "modified":
                names -= {name} - {path}
                names |= {event.path_before} if event.path_before else set()
    return went_on


def _trace_on(
    went_on: dict[int, set[str]], transitions: Iterator[Transition], found: set[Event]
) -> None:
    names: set[str] = set()
    for transition in transitions:
        names |= went_on.get(transition.number - 1, set())
        for name in frozenset(names):
            event = _event_at(name, transition)
            if event is None:
                continue
            found.add(event)
            if event.what != "modified":
                names.discard(name)
            if event.path_before is not None:
                names.add(event.path)


def _event_at(name: str, transition: Transition) -> Event | None:
    """Return what happened to `name`, which went if it is the `path_before` of what came."""
    number = transition.number
    old, new = transition.before.entry_at(name), transition.now.entry_at(name)
    if old is not None and new is not None:
        is_same = _content_of(old) == _content_of(new)
        return None if is_same else Event(number, "modified", name)
    entry = old or new
    if entry is None:
        return None
    for path_before, path in _renames(transition, _content_of(entry)):
        if name in {path_before, path}:
            return Event(number, "renamed", path, path_before)
    return Event(number, "added" if old is None else "deleted", name)


def _renames(transition: Transition, content: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield old and new path of what has this content and was renamed."""
    came: list[str] = []
    went: list[str] = []
    for path, old, new in _differing(transition):
        if old is None and _content_of(new) == content:
            came.append(path)
        elif new is None and _content_of(old) == content:
            went.append(path)
    return zip(went, came, strict=False)


def _differing(transition: Transition) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Yield path, entry before and entry now, sorted, wherever these are not the same bytes."""
    olds, news = transition.before.lines(), transition.now.lines()
    old, new = next(olds, None), next(news, None)
    while old or new:
        if old and new and old[0] == new[0]:
            if old[1] != new[1]:
                yield old[0], old[1], new[1]
            old, new = next(olds, None), next(news, None)
        elif old and (new is None or old[0] < new[0]):
            yield old[0], old[1], None
            old = next(olds, None)
        elif new:
            yield new[0], None, new[1]
            new = next(news, None)


def _content_of(entry: bytes | None) -> tuple[str, ...]:
    """Return what tells whether two entries have one content."""
    document = json.loads(entry or b"{}")
    return tuple(str(document.get(key)) for key in ("type", "hash", "reference"))
