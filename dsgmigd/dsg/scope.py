"""The scope of a snapshot: the part that DSG's client manages, by `.dsgconfig.yml` at its root.

The client plans to delete every listed file outside the scope, so the manifest of a snapshot with
such a config lists only what is in the scope. The rule is the client's: a path is in the scope if
any of its parts is one of `data_dirs` ("*" means all; without the key they are input, output and
frozen), unless `ignore` contains the whole path, the file's name or its suffix. The scope only
narrows the manifest: what no manifest lists (see `entry`) is never listed.

The files themselves are always migrated, whatever the scope is.

Raises: nothing; an invalid config is a warning in the scope.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from dsgmigd.dsg.entry import is_listed

CONFIG_NAME = ".dsgconfig.yml"
CONFIG_LIMIT_BYTES = 64 * 1024

# PyYAML raises the last two for a tag that does not fit its value: !!bool x, !!timestamp x.
_INVALID = (
    *(yaml.YAMLError, ValueError, TypeError, RecursionError),
    *(LookupError, AttributeError),
)
_CHARACTERS_SHOWN = 200
_DEFAULT_DIRECTORIES = frozenset({"input", "output", "frozen"})


@dataclass(frozen=True)
class Scope:
    """The scope of one snapshot; without `directories`, it contains everything.

    `warning` says why a config was ignored.
    """

    directories: frozenset[str] | None = None
    ignored_paths: frozenset[PurePosixPath] = frozenset()
    ignored_names: frozenset[str] = frozenset()
    ignored_suffixes: frozenset[str] = frozenset()
    warning: str | None = None

    def has(self, path: bytes) -> bool:
        """Say whether the file or link at `path`, which has a listed name, is in the scope."""
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
        """Say whether a manifest lists the file at `path`, or the link at `path` to `reference`."""
        return is_listed(path, reference) and self.has(path)

    def __str__(self) -> str:
        if self.directories is None:
            return "all directories"
        return f"{CONFIG_NAME}: {', '.join(sorted(self.directories))}"


EVERYTHING = Scope()


def parse_scope(content: bytes) -> Scope:
    """Return the scope in a `.dsgconfig.yml`; everything, with a warning, if it is invalid."""
    try:
        return _scope_of(yaml.load(content, _Loader))  # noqa: S506 # it is a SafeLoader)
    except _INVALID as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return Scope(warning=f"{CONFIG_NAME} is ignored: {message[:_CHARACTERS_SHOWN]}")


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Reads plain YAML. Aliases and merge keys let a few hundred bytes become gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name); write the values out")
        return super().compose_node(parent, index)


def _scope_of(document: Any) -> Scope:
    if not isinstance(document, dict):
        raise TypeError("the document is not a mapping")
    # Older files have these keys below the key "project".
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
