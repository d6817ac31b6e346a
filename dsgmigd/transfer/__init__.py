"""Bring the staging dataset from snapshot s(k-1) to s(k); only changed bytes are written.

Owns the replay of send streams, and the copy by rsync where a snapshot cannot be sent.
Guarantees: nothing outside the staging directory is written, whatever a stream or a tree contains.
Raises: StreamCorrupt, StreamRestarted, CommandFailed, LossNotAllowed, TargetFull, TargetRefused,
TargetUnwritable, SourceUnreadable, HostExhausted.
Start reading in `contents` (one step), then `replay` (the table of commands) and `tree`. Only
migration imports this room: verification must not share code with what it checks.
"""

FACE = ("contents",)
