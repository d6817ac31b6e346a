"""The queue: one flat directory of requests, claims and results, shared by all instances.

Owns every path, rename and unlink of the queue; `spool` has the table of legal states.
Guarantees: a request ends in exactly one result; one live worker for each repository; after a crash
recovery follows the table of states, without looking at ages or process numbers.
Raises: SpoolUnusable, SpoolReplaced, InvalidRequest, StateTooNew, AlreadyRunning, and OSError when
the spool's file system fails.
Start reading in `spool`, then `claiming`; `layout` has every path. The rooms service, maintenance
and cli import it; migration never does.
"""

FACE = (
    "claim",
    "claim_record",
    "claiming",
    "control",
    "deferral",
    "file_names",
    "ledger",
    "ledger_chain",
    "ledger_line",
    "location",
    "spool",
    "submission",
    "submitter",
    "withdrawal",
)
