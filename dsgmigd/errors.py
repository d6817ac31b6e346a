"""Every failure and interruption that an operator may see.

Each has a message (what happened), a hint (what to do), a `code` (its kind, a stable string in
results and in the journal) and an `error_class` (who can fix it). A worker catches them in one
place, `service.processing`, and the command line in another, `cli.output`; any other exception is a
bug or a broken host.
"""

from typing import ClassVar, Literal

ErrorClass = Literal["transient", "permanent", "operator"]


class Explained(Exception):
    """An exception that explains itself; raise a subclass of the two roots below."""

    code: ClassVar[str] = "internal"
    error_class: ClassVar[ErrorClass] = "permanent"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DsgmigdError(Explained):
    """Root of all failures."""


class Interruption(Explained):
    """Root of what ends work by request; `except DsgmigdError` does not catch it."""


class InterruptedByStop(Interruption):
    """The instance was asked to stop: the work stays resumable and no result is written."""

    code = "interrupted"
    error_class = "transient"

    def __init__(self) -> None:
        super().__init__(
            "stopped before the end of the migration",
            hint="start an instance again: the work resumes after the last verified snapshot",
        )


class RequestCancelled(Interruption):
    """An operator cancelled the request: a result is written and the request is not resumed."""

    code = "cancelled"
    error_class = "operator"

    def __init__(self, *, is_discarded: bool = False) -> None:
        super().__init__(
            "cancelled by an operator",
            hint="what was built was destroyed; submit again with: dsgmigd retry"
            if is_discarded
            else "what was built is kept: the next request continues after the last verified "
            "snapshot",
        )


class NothingToCancel(DsgmigdError):
    """No request for the repository is waiting or running."""

    code = "nothing_to_cancel"
    error_class = "operator"


class NothingToRetry(DsgmigdError):
    """The last request for the repository neither failed nor was cancelled."""

    code = "nothing_to_retry"
    error_class = "operator"


class InvalidName(DsgmigdError):
    """A repository, snapshot or dataset name that dsgmigd does not accept."""

    code = "invalid_name"
    error_class = "operator"


class InvalidConfig(DsgmigdError):
    """The configuration file is missing, cannot be read, or has an invalid value."""

    code = "invalid_config"
    error_class = "operator"


class InvalidRequest(DsgmigdError):
    """A request is neither an empty file nor one JSON object with known keys."""

    code = "invalid_request"
    error_class = "operator"


class SourceMissing(DsgmigdError):
    """The repository's directory does not exist below the source root."""

    code = "source_missing"
    error_class = "operator"


class SourceUnavailable(DsgmigdError):
    """The source root does not exist, is empty or not mounted, or its device is gone."""

    code = "source_unavailable"
    error_class = "transient"


class SourceUnsafe(DsgmigdError):
    """Others than root and the daemon's user may exchange what is in the source root."""

    code = "source_unsafe"
    error_class = "operator"


class NoSnapshots(DsgmigdError):
    """The repository has no snapshot s1 … sN."""

    code = "no_snapshots"
    error_class = "operator"


class SnapshotGap(DsgmigdError):
    """The series s1 … sN has gaps."""

    code = "snapshot_gap"
    error_class = "operator"


class SourceInvalid(DsgmigdError):
    """Something named sK or SV-norm is not a directory, or sK has a leading zero."""

    code = "source_invalid"
    error_class = "operator"


class SourceChanged(DsgmigdError):
    """The source changed or was removed while it was read."""

    code = "source_changed"
    error_class = "operator"


class SourceUnreadable(DsgmigdError):
    """Reading the source failed."""

    code = "source_io"
    error_class = "permanent"


class SourceConflict(DsgmigdError):
    """The source has something at its root where dsgmigd must write its own."""

    code = "dsg_conflict"
    error_class = "operator"


class StreamCorrupt(DsgmigdError):
    """A btrfs send stream is truncated or damaged, or has an unknown command."""

    code = "stream_corrupt"
    error_class = "permanent"


class StreamRestarted(DsgmigdError):
    """A btrfs send that was stopped, or frozen with its host, began its stream anew."""

    code = "stream_restarted"
    error_class = "transient"


class TargetExists(DsgmigdError):
    """The target dataset exists and is not a prefix of the source."""

    code = "target_exists"
    error_class = "operator"


class TargetMissing(DsgmigdError):
    """The parent dataset, or what was asked for in it, does not exist or cannot be used."""

    code = "target_missing"
    error_class = "operator"


class TargetUnavailable(DsgmigdError):
    """The pool is exported, suspended or takes no writes, or the parent is not mounted."""

    code = "target_unavailable"
    error_class = "transient"


class MountsHidden(DsgmigdError):
    """The worker has a mount namespace of its own: the host does not see what it mounts."""

    code = "mounts_hidden"
    error_class = "operator"


class TargetFull(DsgmigdError):
    """The pool or a quota has no space left."""

    code = "target_full"
    error_class = "transient"


class TargetBusy(DsgmigdError):
    """A process or a hold keeps the dataset busy."""

    code = "target_busy"
    error_class = "transient"


class TargetInUse(DsgmigdError):
    """Others have something in the published dataset that must not be moved aside."""

    code = "target_in_use"
    error_class = "operator"


class TargetRefused(DsgmigdError):
    """The target cannot store something that the source has, and no request may allow that."""

    code = "target_refused"
    error_class = "operator"


class TargetUnwritable(DsgmigdError):
    """Reading or writing the target failed."""

    code = "target_io"
    error_class = "permanent"


class TargetChanged(DsgmigdError):
    """Another program or user changed the staging or the target dataset."""

    code = "target_changed"
    error_class = "operator"


class MetadataDamaged(DsgmigdError):
    """A document in `.dsg/` of a snapshot is missing, cannot be read, or was changed."""

    code = "metadata_damaged"
    error_class = "permanent"


class PathUnknown(DsgmigdError):
    """No manifest of the dataset lists the path."""

    code = "path_unknown"
    error_class = "operator"


class LossNotAllowed(DsgmigdError):
    """The target cannot store an attribute, and the request does not allow that loss."""

    code = "loss_not_allowed"
    error_class = "operator"


class VerificationFailed(DsgmigdError):
    """Source and target differ, or the target differs from its own manifests."""

    code = "verification_failed"
    error_class = "permanent"


class TargetDiffers(VerificationFailed):
    """A published snapshot differs from its source or from its own manifests."""

    code = "target_differs"
    error_class = "permanent"


class EvidenceDamaged(DsgmigdError):
    """A file of the kept evidence is missing, or not what was written."""

    code = "evidence_damaged"
    error_class = "operator"


class EvidenceMissing(DsgmigdError):
    """No evidence was taken of what was asked for."""

    code = "evidence_missing"
    error_class = "operator"


class EvidenceDiffers(VerificationFailed):
    """A file that is copied is not as the evidence says."""

    code = "evidence_differs"
    error_class = "permanent"


class BagRefused(DsgmigdError):
    """A bag cannot be written: it is there already, or its place cannot hold it."""

    code = "bag_refused"
    error_class = "operator"


class SigningFailed(DsgmigdError):
    """The signing key or ssh-keygen cannot be used."""

    code = "signing_failed"
    error_class = "operator"


class SignatureInvalid(DsgmigdError):
    """A signature does not belong to the content, or is of another key."""

    code = "signature_invalid"
    error_class = "operator"


class CrashLoop(DsgmigdError):
    """The worker crashed several times while processing the same request."""

    code = "crash_loop"
    error_class = "operator"


class HostExhausted(DsgmigdError):
    """The host has no memory, processes or open files left at this moment."""

    code = "host_exhausted"
    error_class = "transient"


class AlreadyRunning(DsgmigdError):
    """Another process holds the repository or the instance number."""

    code = "already_running"
    error_class = "transient"


class SpoolUnusable(DsgmigdError):
    """The spool directory is missing, cannot be used, or its location is unsafe."""

    code = "spool_unusable"
    error_class = "operator"


class SpoolReplaced(DsgmigdError):
    """The path of the spool now leads to another directory, or to none."""

    code = "spool_replaced"
    error_class = "transient"

    def __init__(self, directory: str) -> None:
        super().__init__(
            f"the spool {directory} was moved, removed, or mounted over",
            hint="the old directory still has the waiting and claimed requests: put it back, or "
            "move its *.request and *.claim.* files into the new one",
        )


class StateTooNew(DsgmigdError):
    """A newer version of dsgmigd wrote this; it is not changed."""

    code = "state_too_new"
    error_class = "operator"


class SpoolFailing(DsgmigdError):
    """Reading or writing the spool failed; its requests and results are kept."""

    code = "spool_io"
    error_class = "transient"


class PinImpossible(DsgmigdError):
    """A pin cannot be created or deleted: the source is read-only or full, for example."""

    code = "pin_impossible"
    error_class = "operator"


class CommandFailed(DsgmigdError):
    """A program that dsgmigd runs failed with an error that dsgmigd does not know."""

    code = "command_failed"
    error_class = "permanent"

    def __init__(self, argv: tuple[str, ...], *, status: int, stderr: str) -> None:
        last_words = stderr.strip() or "no message"
        super().__init__(
            f"{' '.join(argv)} ended with status {status}: {last_words}",
            hint="this is the program's own message; run the command by hand to see more",
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
            hint="check the pool: zpool status; commands hang while a pool is suspended",
        )
        self.argv = argv
