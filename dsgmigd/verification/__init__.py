"""Independent comparison of source and target: every name, attribute and content.

Owns the walk over both sides, the proofs that make a second reading unnecessary, and its own reader
of `.dsg/` (`metadata`).
Guarantees: it never imports transfer or migration, so that the check does not repeat a mistake of
the copy; a result counts what was read and what was already proven.
Raises: SourceUnreadable, TargetUnwritable and the other errors of `host.file_errors` if a side
cannot be read. Differences are not errors: they are returned as discrepancies.
Start reading in `verifier`, then `walk` and `proof`. The rooms migration, maintenance, service and
cli import it.
"""

FACE = (
    "compare",
    "discrepancy_file",
    "findings",
    "kept_proofs",
    "metadata.documents",
    "metadata.files",
    "metadata.listing",
    "metadata.manifest_content",
    "metadata.manifest_reader",
    "schedule",
    "standalone",
    "verifier",
)
