"""The bounds of a result: whoever owns what is in a source decides how much there is to tell.

Every text and every list has a limit, except those with one item for each snapshot. All lists in
the rows of the snapshots share a limit too. `left_out` counts the items that a list lacks. Pure
rules.
"""

import json
from collections import Counter
from typing import Any

from dsgmigd.host.terminal import shortened

TEXT_CHARACTERS = 4096  # a path may be as long
LIST_ITEMS = 200
ROWS_CHARACTERS = 4 * 1024 * 1024

_ONE_FOR_EACH_SNAPSHOT = frozenset(
    {"snapshots", "on_record", "plan.steps", "plan.rechecks", "plan.verifies"}
)
_ROWS = "snapshots."


def bounded(document: dict[str, Any]) -> dict[str, Any]:
    """Return a result within its bounds, with `left_out`: path of a list to number of items."""
    bounds = _Bounds()
    cut = {key: bounds.cut(value, key) for key, value in document.items()}
    return cut | {"left_out": dict(bounds.left_out)}


class _Bounds:
    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._room = ROWS_CHARACTERS

    def cut(self, value: Any, path: str) -> Any:
        """Return a value within its bounds; `path` has the keys that lead to it."""
        if isinstance(value, str):
            return shortened(value, TEXT_CHARACTERS)
        if isinstance(value, dict):
            return {key: self.cut(item, f"{path}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return self._cut_list(list(value), path)
        return value

    def _cut_list(self, items: list[Any], path: str) -> list[Any]:
        kept = items
        if len(items) > LIST_ITEMS and path not in _ONE_FOR_EACH_SNAPSHOT:
            # The last ones too: a run warns of the publication at its end.
            kept = items[: LIST_ITEMS // 2] + items[-LIST_ITEMS // 2 :]
        kept = [self.cut(item, path) for item in kept]
        if path.startswith(_ROWS):
            kept = [item for item in kept if self._has_room(item)]
        if len(kept) < len(items):
            self.left_out[path] += len(items) - len(kept)
        return kept

    def _has_room(self, item: Any) -> bool:
        size = len(json.dumps(item))
        if size > self._room:
            return False
        self._room -= size
        return True
