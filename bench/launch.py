"""Run the dsgmigd of a checkout as its command would, and note what it had cost at each event.

    launch.py [--notes FILE] [--settle SECONDS] CHECKOUT ARGUMENTS...

The notes are a JSON list of [event, snapshot, seconds, calls, faults]. Events are those of the log,
and `copy`, when the first snapshot is begun. They are noted in this process and not by whoever
reads the log, because a line is read some time after it was written.

With --settle it waits before each snapshot of the target. Then every file in it is older than the
moments at which no change time proves anything, so that the next snapshot reads what changed and
nothing else, and counts do not depend on the machine.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cost

EVENTS = ("plan.made", "snapshot.made", "snapshot.verified", "target.published")


def main() -> None:
    """Prepare, and become the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--notes", type=Path)
    parser.add_argument("--settle", type=float, default=0.0)
    parser.add_argument("checkout")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    sys.path.insert(0, options.checkout)
    notes: list[list[Any]] = []

    def note(event: str, snapshot: object = None) -> None:
        moment = cost.now()
        notes.append([event, snapshot, moment.seconds, moment.calls, moment.faults])

    _note_events(note)
    _note_steps(note, options.settle)
    import dsgmigd.__main__  # noqa: PLC0415 - of the checkout that was named

    sys.argv = ["dsgmigd", *options.arguments]
    try:
        dsgmigd.__main__.main()
    finally:
        if options.notes:
            options.notes.write_text(json.dumps(notes), encoding="ascii")


def _note_events(note: Any) -> None:
    """Note the events of the log, as its first processor."""
    import structlog  # noqa: PLC0415 - it takes time, of which each start has its share

    configure = structlog.configure

    def look(_logger: object, _method: str, fields: Any) -> Any:
        if fields["event"] in EVENTS:
            note(fields["event"], fields.get("snapshot"))
        return fields

    def configure_noting(*, processors: Any = (), **rest: Any) -> None:
        configure(processors=[look, *processors], **rest)

    structlog.configure = configure_noting  # type: ignore[assignment]


def _note_steps(note: Any, settle_seconds: float) -> None:
    from dsgmigd.migration.progress import Progress  # noqa: PLC0415 - of that checkout

    enter, begun = Progress.enter, list[str]()

    def enter_noting(self: Progress, step: str, snapshot: object = None) -> None:
        if step == "copy" and not begun:
            begun.append(step)
            note(step, str(snapshot))
        if step == "snapshot":
            time.sleep(settle_seconds)
        enter(self, step, snapshot)

    Progress.enter = enter_noting  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
