"""Writer of `.dsg/`, the metadata that DSG's clients read: manifest, messages, archive, tags.

Owns the format (docs/dsg-metadata.md) and the rules for what a manifest may list.
Guarantees: a file is hashed again only if it changed; each archive file is written once.
Raises: TargetChanged, TargetRefused, and the errors of `host.file_errors`.
Start reading in `manifest` (what is listed), then `metadata` (how it is rendered). The rooms
source, migration, verification and maintenance import it. The verifier reads `.dsg/` with its own
code (`verification.metadata`) and shares only the rules for the scope and for push logs.
"""

FACE = (
    "archive",
    "entry",
    "manifest",
    "metadata",
    "push_line",
    "pushlog",
    "read_scope",
    "refresh",
    "scope",
    "tags",
)
