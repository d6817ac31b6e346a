"""A call that fails, in place of one that would not."""

import os
from collections.abc import Callable
from typing import NoReturn


def failing(number: int) -> Callable[..., NoReturn]:
    """Return what raises the OSError of `number`, whatever it is called with."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail
