"""Every path of a spool, built from names; `file_names` parses them back.

    REPO.request                     a request
    REPO.claim.I                     a request that instance I claimed
    REPO.result.json                 the newest result of REPO
    REPO.verified.json               the last result in which snapshots were verified
    REPO.discrepancies.jsonl         all discrepancies that the newest result counts
    .submit.ID                       a request that is being submitted
    rejected/                        files that could not be requests
    .dsgmigd/locks/REPO              the lock of a repository
    .dsgmigd/instances/I.lock|json   the lock and the last status of instance I
    .dsgmigd/results/REPO.ID.json    every result, but for old ones of rejected requests
    .dsgmigd/results/ledger.jsonl    the ledger: one line for each act
    .dsgmigd/ledger.lock             its lock
    .dsgmigd/proofs/REPO             what the last run proved of REPO, for the next one
    .dsgmigd/evidence/REPO/          the evidence of the snapshots of REPO (see dsgmigd.custody)
    .dsgmigd/work/                   files that are renamed when they are complete
    .dsgmigd/control/                pauses, cancels and withdrawn requests

Nothing here looks at the disk. The caller passes names that were parsed (see dsgmigd.names).
"""

import os
from dataclasses import dataclass
from typing import Literal

from dsgmigd.names import RepoName

WorkKind = Literal["claim", "result", "show", "discrepancies", "verified", "foreground"]

REQUEST_ENDING = ".request"
CLAIM_MARK = ".claim."
RESULT_ENDING = ".result.json"
VERIFIED_ENDING = ".verified.json"
_LEDGER = "ledger.jsonl"
KEPT_ENDING = ".json"
DISCREPANCIES_ENDING = ".discrepancies.jsonl"
SUBMISSION_START = ".submit."
PRIVATE = ".dsgmigd"
REJECTED = "rejected"
LOCK_ENDING = ".lock"
_STATUS = ".json"
ALL = "all"
CANCEL_ENDING = ".cancel"
INSTANCE_ENDING = ".instance"
PAUSED_ENDING = ".paused"
WITHDRAWN_ENDING = ".withdrawn"


@dataclass(frozen=True)
class SpoolLayout:
    """The paths of the spool in `directory`."""

    directory: str

    @property
    def rejected(self) -> str:
        """Return the directory of files that could not be requests."""
        return os.path.join(self.directory, REJECTED)

    @property
    def locks(self) -> str:
        """Return the directory of repository locks."""
        return self._private("locks")

    @property
    def work(self) -> str:
        """Return the directory of files that are renamed when they are complete."""
        return self._private("work")

    @property
    def control(self) -> str:
        """Return the directory of pauses, cancels and withdrawn requests."""
        return self._private("control")

    @property
    def instances(self) -> str:
        """Return the directory of instance locks and statuses."""
        return self._private("instances")

    @property
    def results(self) -> str:
        """Return the directory that keeps every result."""
        return self._private("results")

    @property
    def proofs(self) -> str:
        """Return the directory of what runs proved."""
        return self._private("proofs")

    @property
    def all_evidence(self) -> str:
        """Return the directory with the evidence of all repositories."""
        return self._private("evidence")

    def own_directories(self) -> list[tuple[str, int]]:
        """Return (path, mode) of every directory that dsgmigd makes, parents first."""
        return [
            (os.path.join(self.directory, PRIVATE), 0o755),
            (self.locks, 0o700),
            (self.work, 0o700),
            (self.control, 0o700),
            (self.proofs, 0o700),
            (self.all_evidence, 0o700),
            (self.instances, 0o755),
            (self.results, 0o755),
            (self.rejected, 0o755),
        ]

    def request(self, name: str) -> str:
        """Return the path of a request; `name` may be invalid if the file was listed."""
        return os.path.join(self.directory, name + REQUEST_ENDING)

    def submission(self, unique: str) -> str:
        """Return the path of a request that is being submitted."""
        return os.path.join(self.directory, SUBMISSION_START + unique)

    def claim(self, repo: RepoName, instance: int) -> str:
        """Return the path of the claim of `repo` by `instance`."""
        return os.path.join(self.directory, f"{repo}{CLAIM_MARK}{instance}")

    def newest_result(self, repo: RepoName) -> str:
        """Return the path of the newest result of `repo`."""
        return os.path.join(self.directory, repo + RESULT_ENDING)

    def verified_result(self, repo: RepoName) -> str:
        """Return the path of the last result of `repo` in which snapshots were verified."""
        return os.path.join(self.directory, repo + VERIFIED_ENDING)

    def discrepancies(self, repo: RepoName) -> str:
        """Return the path of the discrepancies that the newest result of `repo` counts."""
        return os.path.join(self.directory, repo + DISCREPANCIES_ENDING)

    def rejected_file(self, unique: str) -> str:
        """Return where a file goes that could not be a request."""
        return os.path.join(self.rejected, unique)

    def rejected_result(self, unique: str) -> str:
        """Return the path of the result of a rejected file without a valid repository name."""
        return self.rejected_file(unique) + RESULT_ENDING

    def lock(self, repo: RepoName) -> str:
        """Return the path of the lock of `repo`."""
        return os.path.join(self.locks, repo)

    def kept_result(self, repo: RepoName, request_id: str) -> str:
        """Return the path under which the result of one request is kept."""
        return os.path.join(self.results, f"{repo}.{request_id}{KEPT_ENDING}")

    @property
    def ledger(self) -> str:
        """Return the path of the ledger, which no kept result can have."""
        return os.path.join(self.results, _LEDGER)

    @property
    def ledger_lock(self) -> str:
        """Return the path of the ledger's lock; members cannot open it."""
        return self._private(f"ledger{LOCK_ENDING}")

    def recorded_result(self, name: str) -> str:
        """Return the path of a result by the name that the ledger has for it."""
        above = self.directory if name.startswith(f"{REJECTED}/") else self.results
        return os.path.join(above, name)

    def recorded_name(self, path: str) -> str:
        """Return the name that the ledger has for the result at `path`."""
        is_rejected = os.path.dirname(path) == self.rejected
        return os.path.relpath(path, self.directory if is_rejected else self.results)

    def kept_proofs(self, repo: RepoName) -> str:
        """Return the path of what the last run of `repo` proved."""
        return os.path.join(self.proofs, repo)

    def evidence(self, repo: RepoName) -> str:
        """Return the directory with the evidence of the snapshots of `repo`."""
        return os.path.join(self.all_evidence, repo)

    def work_file(self, repo: RepoName, kind: WorkKind, instance: int) -> str:
        """Return the path of a file of `repo` that `instance` renames when it is complete."""
        return os.path.join(self.work, f"{repo}.{kind}.{instance}")

    def new_status(self, instance: int) -> str:
        """Return the path under which `instance` writes its status before the rename."""
        return os.path.join(self.work, f"status.{instance}")

    def instance_lock(self, instance: int) -> str:
        """Return the path of the lock of `instance`."""
        return os.path.join(self.instances, f"{instance}{LOCK_ENDING}")

    def instance_status(self, instance: int) -> str:
        """Return the path of the last status of `instance`."""
        return os.path.join(self.instances, f"{instance}{_STATUS}")

    def control_file(self, name: Literal["lock", "new", "nudge"]) -> str:
        """Return the path of the queue's lock, of a file before its rename, or of what wakes."""
        return os.path.join(self.control, name)

    def cancel(self, repo: RepoName) -> str:
        """Return the path of the cancel of `repo`."""
        return os.path.join(self.control, repo + CANCEL_ENDING)

    def pause(self, repo: RepoName | None, instance: int | None) -> str:
        """Return the path of the pause of a repository, an instance, or without either of all."""
        if repo is not None:
            return os.path.join(self.control, repo + PAUSED_ENDING)
        return os.path.join(
            self.control, ALL if instance is None else f"{instance}{INSTANCE_ENDING}"
        )

    def withdrawn(self, repo: RepoName, request_id: str) -> str:
        """Return the path of a request that was withdrawn and has no result yet."""
        return os.path.join(self.control, f"{repo}.{request_id}{WITHDRAWN_ENDING}")

    def _private(self, name: str) -> str:
        return os.path.join(self.directory, PRIVATE, name)
