"""The btrfs side: repositories, their snapshots, pins, send streams, push logs and tags.

Owns all access to the source root.
Guarantees: nothing is written to the source except pins: read-only snapshots in a separate
directory, which are deleted when the work ends.
Raises: SourceMissing, SourceUnavailable, SourceUnsafe, SourceInvalid, SourceUnreadable,
SourceChanged, SourceConflict, NoSnapshots, PinImpossible, StreamCorrupt,
StreamRestarted, CommandFailed, HostExhausted.
Start reading in `repository`, then `pins` and `btrfs_send`. The rooms transfer, verification,
migration, maintenance and cli import it.
"""

FACE = (
    "btrfs_send",
    "compression",
    "half_received",
    "left_out",
    "pin_area",
    "pin_names",
    "pins",
    "provenance",
    "repository",
    "root",
    "send_stream",
    "subvolume",
    "tree_search",
    "unreadable",
)
