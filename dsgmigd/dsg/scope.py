"""Which part of a snapshot DSG's client looks after: what `.dsgconfig.yml` at its root says.

A client plans to delete what a manifest lists beyond that, so the manifest of a snapshot that has
such a file lists no more. The rule is the client's: a path counts if any of its parts is one of
`data_dirs` ("*" is all of them, and without the key they are input, output and frozen), unless
`ignore` has the whole path, the file's name or its suffix. It only narrows: what no manifest lists
(entry.py) is never listed.

The files themselves are migrated whatever the scope is.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from dsgmigd.dsg.entry import is_listed

CONFIG_NAME = ".dsgconfig.yml"

# The last two leave PyYAML where a tag stands before what it is not: !!bool x, !!timestamp x.
_UNSOUND = (
    *(yaml.YAMLError, ValueError, TypeError, RecursionError),
    *(LookupError, AttributeError),
)
_CHARACTERS_SHOWN = 200
_DEFAULT_DIRECTORIES = frozenset({"input", "output", "frozen"})


@dataclass(frozen=True)
class Scope:
    """The rule of one snapshot; without `directories` everything is in it.

    `warning` says why a config could not be followed.
    """

    directories: frozenset[str] | None = None
    ignored_paths: frozenset[PurePosixPath] = frozenset()
    ignored_names: frozenset[str] = frozenset()
    ignored_suffixes: frozenset[str] = frozenset()
    warning: str | None = None

    def has(self, path: bytes) -> bool:
        """Say whether the file or link at `path` is in the scope; its name is listed at all."""
        if self.directories is None:
            return True
        pure = PurePosixPath(path.decode())
        if "*" not in self.directories and self.directories.isdisjoint(pure.parts):
            return False
        return not (
            pure in self.ignored_paths
            or pure.name in self.ignored_names
            or pure.suffix in self.ignored_suffixes
        )

    def lists(self, path: bytes, reference: bytes | None = None) -> bool:
        """Say whether a manifest lists the file at `path`, or the link there to `reference`."""
        return is_listed(path, reference) and self.has(path)

    def __str__(self) -> str:
        if self.directories is None:
            return "all directories"
        return f"{CONFIG_NAME}: {', '.join(sorted(self.directories))}"


EVERYTHING = Scope()


def parse_scope(content: bytes) -> Scope:
    """Return what a `.dsgconfig.yml` says; everything, with a warning, if it says nothing sound."""
    try:
        return _scope_of(yaml.safe_load(content))
    except _UNSOUND as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Scope(warning=f"{CONFIG_NAME} is not followed: {words[:_CHARACTERS_SHOWN]}")


def _scope_of(document: Any) -> Scope:
    if not isinstance(document, dict):
        raise TypeError("it is not a mapping")
    # Older files have these keys one level deeper.
    older = document.get("project")
    if isinstance(older, dict):
        document = document | older
    ignore = document.get("ignore", {})
    if not isinstance(ignore, dict):
        raise TypeError("ignore is not a mapping")
    directories = _texts(document, "data_dirs") if "data_dirs" in document else None
    return Scope(
        directories=_DEFAULT_DIRECTORIES if directories is None else directories,
        ignored_paths=frozenset(map(PurePosixPath, _texts(ignore, "paths"))),
        ignored_names=_texts(ignore, "names"),
        ignored_suffixes=_texts(ignore, "suffixes"),
    )


def _texts(document: dict[Any, Any], key: str) -> frozenset[str]:
    value = document.get(key, [])
    if not isinstance(value, list | set) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{key} is not a list of texts")
    return frozenset(value)
