"""What happened to the files of a series of snapshots, from its manifests alone.

A file is modified if its content changed, a link if its target changed; times and users do not
count. A new path is *renamed* from a path that disappeared in the same snapshot with the same
content; if there are several, they are paired in the order of their paths. So the counts of a
snapshot and the events of its paths agree.

A manifest is read as `Entries`; no more than two are held at a time.

Raises: the errors of the caller's `read`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

What = Literal["added", "modified", "renamed", "deleted"]


class Entries(Protocol):
    """The entries of one manifest, each as a JSON document."""

    def entry_at(self, path: str) -> bytes | None:
        """Return the entry at `path`; None if there is none."""

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and the entry of each, sorted by path."""


@dataclass(frozen=True)
class Counts:
    """How many paths changed in one snapshot; a renamed path counts once."""

    added: int
    modified: int
    renamed: int
    deleted: int


@dataclass(frozen=True)
class Event:
    """What one snapshot did to one path; `path_before` is the old path of a renamed one."""

    snapshot: int
    what: What
    path: str
    path_before: str | None = None


@dataclass
class Transition:
    """The manifests of a snapshot and of the one before it.

    One object moves from snapshot to snapshot, so that no caller keeps older manifests in memory.
    """

    number: int
    before: Entries
    now: Entries


class _Nothing:
    """The entries before the first snapshot."""

    def entry_at(self, _path: str) -> None:
        return None

    def lines(self) -> Iterator[tuple[str, bytes]]:
        return iter(())


Read = Callable[[int], Entries]


def backward(last: int, read: Read) -> Iterator[Transition]:
    """Yield the transitions from snapshot `last` back to the first; `read` returns a manifest."""
    transition = Transition(last + 1, before=read(last), now=_Nothing())
    for number in range(last, 0, -1):
        transition.number, transition.now = number, transition.before
        transition.before = read(number - 1) if number > 1 else _Nothing()
        yield transition


def forward(first: int, last: int, read: Read) -> Iterator[Transition]:
    """Yield the transitions from snapshot `first` to `last`; `first` is at least 2."""
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
    appeared: Counter[tuple[str, ...]] = Counter()
    disappeared: Counter[tuple[str, ...]] = Counter()
    for _, old, new in _differing(transition):
        if old is None:
            appeared[_content_of(new)] += 1
        elif new is None:
            disappeared[_content_of(old)] += 1
        else:
            modified += _content_of(old) != _content_of(new)
    renamed = (appeared & disappeared).total()
    return Counts(appeared.total() - renamed, modified, renamed, disappeared.total() - renamed)


def trace(path: str, last: int, read: Read) -> list[Event]:
    """Return, the oldest first, what happened to every file or link that ever was at `path`.

    Each is followed through its renames, to earlier and to later names.
    """
    found: set[Event] = set()
    followed_later = _trace_back(path, backward(last, read), found)
    if followed_later:
        _trace_on(followed_later, forward(min(followed_later) + 1, last, read), found)
    return sorted(found, key=lambda event: (event.snapshot, event.path))


def _trace_back(
    path: str, transitions: Iterator[Transition], found: set[Event]
) -> dict[int, set[str]]:
    """Add events to `found`; return, per snapshot, the new names that were not followed yet."""
    names = {path}  # it stays, because another file may have been at `path` earlier
    followed_later: dict[int, set[str]] = {}
    for transition in transitions:
        known = frozenset(names)
        for name in known:
            event = _event_at(name, transition)
            if event is None:
                continue
            found.add(event)
            if event.path_before == name:
                if event.path not in known:
                    followed_later.setdefault(event.snapshot, set()).add(event.path)
            elif event.what != "modified":
                names -= {name} - {path}
                names |= {event.path_before} if event.path_before else set()
    return followed_later


def _trace_on(
    followed_later: dict[int, set[str]], transitions: Iterator[Transition], found: set[Event]
) -> None:
    names: set[str] = set()
    for transition in transitions:
        names |= followed_later.get(transition.number - 1, set())
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
    """Return what happened to `name`; in a rename it may be the old path or the new one."""
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
    """Yield the old and the new path of each rename of this content."""
    appeared: list[str] = []
    disappeared: list[str] = []
    for path, old, new in _differing(transition):
        if old is None and _content_of(new) == content:
            appeared.append(path)
        elif new is None and _content_of(old) == content:
            disappeared.append(path)
    return zip(disappeared, appeared, strict=False)


def _differing(transition: Transition) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Yield path, entry before and entry now, sorted by path, where the two entries differ."""
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
    """Return what two entries with the same content have in common."""
    document = json.loads(entry or b"{}")
    return tuple(str(document.get(key)) for key in ("type", "hash", "reference"))
