"""Other programs and people: what they do to datasets again and again while a test goes on."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bed

_END_SECONDS = 60
# What was there at the last look is gone, in use or made by now.
_TOO_LATE = re.compile(
    "does not exist|is busy|already exists|no such|not currently mounted|dependent clones"
    "|more recent"
)
# A command that is wrong here; zfs prints its usage for a missing dataset, too.
_MISTAKE = re.compile("usage:|invalid|unrecognized|missing|permission denied")


@contextmanager
def meanwhile(
    next_command: Callable[[], tuple[str, ...]], next_pause: Callable[[], float]
) -> Iterator[list[str]]:
    """Run `zfs` with one command after the other until the block ends; give those that worked.

    Without one that worked the block would have tested nothing, so that is a failure.
    """
    ended, done, failures = threading.Event(), list[str](), list[str]()

    def work() -> None:
        while not ended.wait(next_pause()):
            command = next_command()
            try:
                bed.run("zfs", *command)
                done.append(" ".join(command))
            except bed.BedError as error:
                words = str(error)
                if _MISTAKE.search(words) and not _TOO_LATE.search(words):
                    failures.append(words)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join(_END_SECONDS)
    assert failures == []
    assert done
