"""A process that dies between two effects on the file system."""

import os
import signal
from collections.abc import Callable
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


def is_killed_after(count: int, action: Callable[[], object]) -> bool:
    """Do `action` in another process, and kill that before the effect after `count` of them.

    Return whether it came to that.
    """
    child = os.fork()
    if child == 0:
        left = iter([True] * count)
        for name in ("rename", "link", "unlink", "fsync", "write", "ftruncate", "open", "mkdir"):
            real = getattr(os, name)

            def effect(*arguments: Any, real: Any = real, **options: Any) -> Any:
                if not next(left, False):
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            setattr(os, name, effect)
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
