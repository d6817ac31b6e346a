"""The one canonical record of a request in the journal: that its result is there, and what it says.

It is written when the result is published and before the claim is removed. Who was killed between
the two is repeated by whoever adopts the claim, with `replayed=1`: the record may come twice. What
a journal that does not listen has not taken by then is lost all the same.
"""

from typing import Any

import structlog


def log_result(result: dict[str, Any], **also: object) -> None:
    """Write the record, with `also` as further fields."""
    log, rows = structlog.get_logger(), result.get("snapshots", [])
    fields = {
        "outcome": result["outcome"],
        "snapshots": len(rows),
        "files": sum(row["files"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "duration_usec": int(result.get("seconds", 0) * 1_000_000),
        **also,
    }
    if result["outcome"] == "cancelled":
        log.warning("request.cancelled", **fields)
    elif error := result.get("error"):
        log.error(
            "request.failed",
            error_code=error["code"],
            reason=error["message"],
            hint=error["hint"],
            **fields,
        )
    else:
        log.info("request.finished", warnings=len(result.get("warnings", [])), **fields)
