"""The ZFS side: the zfs command, the datasets below the target's parent, publication.

Owns every change of a dataset, and the properties that record how far the work is.
Guarantees: only datasets of the area that carry a request id are destroyed; the target appears by
one rename, after everything in it was verified; the previous target is kept.
Raises: TargetMissing, TargetExists, TargetChanged, TargetBusy, TargetFull, TargetUnavailable,
TargetUnwritable, CommandFailed, CommandTimedOut.
Start reading in `layout` (which dataset is which), then `area`, `staging`, `publication`. The rooms
transfer, verification, migration, maintenance, service and cli import it.
"""

FACE = (
    "area",
    "capabilities",
    "dataset",
    "late_snapshots",
    "layout",
    "marks",
    "native",
    "others",
    "owned",
    "probe",
    "publication",
    "published_marks",
    "published_mount",
    "replaced",
    "snapshot_mounts",
    "staging",
    "zfs",
    "zfs_fuse",
)
