"""One systemd instance: it chooses a request, processes it, and says how it goes.

Owns the worker loop, cancelling, waking, stall detection, and what goes to systemd and journald.
Guarantees: a claim becomes a result or stays resumable; a stop, a crash or a power cut at any
moment loses nothing; the journal never blocks the work.
Raises: AlreadyRunning, SpoolUnusable, SpoolReplaced, SpoolFailing; what one request raises becomes
its result.
Start reading in `worker`, then `processing`. Only cli (and `__main__`, for the journal) imports it.
"""

FACE = (
    "cancel",
    "journal",
    "notify",
    "permission",
    "policy",
    "worker",
)
