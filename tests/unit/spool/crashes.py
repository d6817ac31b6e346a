"""A process that dies between two effects on the file system."""

import os
from typing import Any

import pytest


class CutOffError(Exception):
    """The process died here."""


def cut_off_after(count: int) -> pytest.MonkeyPatch:
    """Let the process die at the effect after `count` of them, until `undo`."""
    patch = pytest.MonkeyPatch()
    left = iter([True] * count)
    for name in ("rename", "link", "unlink", "fsync"):
        real = getattr(os, name)

        def effect(*arguments: Any, real: Any = real, **options: Any) -> Any:
            if not next(left, False):
                raise CutOffError
            return real(*arguments, **options)

        patch.setattr(os, name, effect)
    return patch
