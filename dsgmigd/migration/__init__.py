"""One request from its plan to its result: plan, preflight, build, verify, publish.

Owns the order of the steps and what a result says of them.
Guarantees: every step can be repeated, and a run that was interrupted continues after its last
verified snapshot; the commit point is one `zfs rename`.
Raises: any DsgmigdError or Interruption; InterruptedByStop leaves everything resumable.
Start reading in `plan` (pure rules), then `migration`. The rooms service and cli import it. It
knows nothing of the queue: `dsgmigd migrate` works without one.
"""

FACE = (
    "job",
    "migration",
    "progress",
    "published_check",
    "report",
    "result",
    "run",
)
