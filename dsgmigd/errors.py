"""The one tree of errors that an operator may see.

Every error says what happened (`message`), what to do (`hint`), what kind it is (`code`, a stable
string that results and the journal carry) and who can mend it (`error_class`). The daemon catches
`DsgmigdError` in one place; anything else is a bug or a broken host.
"""

from typing import ClassVar, Literal

ErrorClass = Literal["transient", "permanent", "operator"]


class DsgmigdError(Exception):
    """Root of all errors that leave dsgmigd's own code."""

    code: ClassVar[str] = "internal"
    error_class: ClassVar[ErrorClass] = "permanent"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InterruptedByStop(DsgmigdError):
    """The instance was asked to stop: the work stays resumable and no result is written."""

    code = "interrupted"
    error_class = "transient"

    def __init__(self) -> None:
        super().__init__(
            "stopped before the end of the migration",
            hint="start an instance again: the work resumes after the last verified snapshot",
        )


class RequestCancelled(DsgmigdError):
    """An operator ended the request: a result is written, and nobody takes it up again."""

    code = "cancelled"
    error_class = "operator"

    def __init__(self, *, is_discarded: bool = False) -> None:
        kept = "what was built is kept: the next request goes on after the last verified snapshot"
        super().__init__(
            "cancelled by an operator",
            hint="what was built is destroyed; ask again with: dsgmigd retry"
            if is_discarded
            else kept,
        )


class NothingToCancel(DsgmigdError):
    """No request of that repository waits or is worked on."""

    code = "nothing_to_cancel"
    error_class = "operator"


class NothingToRetry(DsgmigdError):
    """The last request of that repository did not end in a way that asks for another try."""

    code = "nothing_to_retry"
    error_class = "operator"


class InvalidName(DsgmigdError):
    """A repository, snapshot or dataset name that dsgmigd does not accept."""

    code = "invalid_name"
    error_class = "operator"


class InvalidConfig(DsgmigdError):
    """The configuration file is missing, unreadable, or says something impossible."""

    code = "invalid_config"
    error_class = "operator"


class InvalidRequest(DsgmigdError):
    """A request that is not an empty file or one JSON object with known keys."""

    code = "invalid_request"
    error_class = "operator"


class SourceMissing(DsgmigdError):
    """The repository's directory does not exist below the source root."""

    code = "source_missing"
    error_class = "operator"


class NoSnapshots(DsgmigdError):
    """The repository has no snapshot s1 … sN."""

    code = "no_snapshots"
    error_class = "operator"


class SnapshotGap(DsgmigdError):
    """The series s1 … sN has holes."""

    code = "snapshot_gap"
    error_class = "operator"


class SourceInvalid(DsgmigdError):
    """Something that looks like a snapshot of the series is not one."""

    code = "source_invalid"
    error_class = "operator"


class SourceChanged(DsgmigdError):
    """The source changed or vanished while it was read."""

    code = "source_changed"
    error_class = "operator"


class SourceUnreadable(DsgmigdError):
    """The source file system refused or failed a read."""

    code = "source_io"
    error_class = "permanent"


class SourceConflict(DsgmigdError):
    """The source holds something at its root that dsgmigd itself must write there."""

    code = "dsg_conflict"
    error_class = "operator"


class StreamCorrupt(DsgmigdError):
    """A btrfs send stream that is truncated, damaged or holds an unknown command."""

    code = "stream_corrupt"
    error_class = "permanent"


class TargetExists(DsgmigdError):
    """The target dataset exists and is not a prefix of the source."""

    code = "target_exists"
    error_class = "operator"


class TargetMissing(DsgmigdError):
    """The parent dataset, or what was asked for in it, is not there or cannot be used."""

    code = "target_missing"
    error_class = "operator"


class TargetUnavailable(DsgmigdError):
    """The pool is away, suspended or takes no writes, or the parent is not mounted."""

    code = "target_unavailable"
    error_class = "transient"


class TargetFull(DsgmigdError):
    """The pool, or a quota on the way to it, has no space left."""

    code = "target_full"
    error_class = "transient"


class TargetBusy(DsgmigdError):
    """Something holds the dataset open."""

    code = "target_busy"
    error_class = "transient"


class TargetRefused(DsgmigdError):
    """The target cannot hold something that the source has."""

    code = "target_refused"
    error_class = "operator"


class TargetUnwritable(DsgmigdError):
    """The target's file system failed a read or a write."""

    code = "target_io"
    error_class = "permanent"


class TargetChanged(DsgmigdError):
    """Somebody else changed the staging or the target dataset during the run."""

    code = "target_changed"
    error_class = "operator"


class MetadataDamaged(DsgmigdError):
    """A document below `.dsg/` of a snapshot is missing, unreadable, or not the one it was."""

    code = "metadata_damaged"
    error_class = "permanent"


class PathUnknown(DsgmigdError):
    """A path that stands in no manifest of the dataset."""

    code = "path_unknown"
    error_class = "operator"


class LossNotAllowed(DsgmigdError):
    """The target cannot keep an attribute, and the request does not allow that loss."""

    code = "loss_not_allowed"
    error_class = "operator"


class VerificationFailed(DsgmigdError):
    """Source and target differ, or the target and its own manifests."""

    code = "verification_failed"
    error_class = "permanent"


class CrashLoop(DsgmigdError):
    """The workers died several times on the same request."""

    code = "crash_loop"
    error_class = "operator"


class HostExhausted(DsgmigdError):
    """The host has no memory, process or open file to spare at this moment."""

    code = "host_exhausted"
    error_class = "transient"


class AlreadyRunning(DsgmigdError):
    """Another process holds the repository or the instance number."""

    code = "already_running"
    error_class = "transient"


class SpoolUnusable(DsgmigdError):
    """The spool directory is missing or is not a place where requests are safe."""

    code = "spool_unusable"
    error_class = "operator"


class SpoolReplaced(DsgmigdError):
    """The spool's name leads to another directory than when this instance began, or to none."""

    code = "spool_replaced"
    error_class = "transient"

    def __init__(self, directory: str) -> None:
        super().__init__(
            f"the spool {directory} was moved, removed, or mounted over",
            hint="what waits and what was claimed is in the directory that was there: "
            "put it back, or move its *.request and *.claim.* files into the new one",
        )


class StateTooNew(DsgmigdError):
    """A newer version of dsgmigd wrote this; it is left as it is."""

    code = "state_too_new"
    error_class = "operator"


class SpoolFailing(DsgmigdError):
    """The spool's file system failed a read or a write; nothing that is in it is given up."""

    code = "spool_io"
    error_class = "transient"


class PinImpossible(DsgmigdError):
    """The source's file system cannot take a pin: it is read-only, full, or not this one."""

    code = "pin_impossible"
    error_class = "operator"


class CommandFailed(DsgmigdError):
    """A program that dsgmigd runs ended with an error that no adapter knows."""

    code = "command_failed"
    error_class = "permanent"

    def __init__(self, argv: tuple[str, ...], *, status: int, stderr: str) -> None:
        last_words = stderr.strip() or "no message"
        super().__init__(
            f"{' '.join(argv)} ended with status {status}: {last_words}",
            hint="the message is the program's own; run the command by hand to see more",
        )
        self.argv = argv
        self.status = status
        self.stderr = stderr


class CommandTimedOut(DsgmigdError):
    """A program that dsgmigd runs did not end in time."""

    code = "command_timeout"
    error_class = "transient"

    def __init__(self, argv: tuple[str, ...], *, timeout_seconds: float) -> None:
        super().__init__(
            f"{' '.join(argv)} did not end within {timeout_seconds:g} seconds",
            hint="look at the pool's health: a suspended pool lets commands hang",
        )
        self.argv = argv
