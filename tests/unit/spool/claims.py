"""Claims of instance 1, and their results."""

import json
from pathlib import Path
from typing import Any

from dsgmigd.names import RepoName
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.spool import Spool

SV = RepoName("SV")


def claimed(spool: Spool, name: str = "SV") -> Claim:
    claim = claim_request(spool, name)
    assert isinstance(claim, Claim)
    return claim


def result_of(claim: Claim, **more: Any) -> dict[str, Any]:
    return {"request_id": claim.request_id, "repo": claim.repo, "outcome": "done", **more}


def kept_results(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in directory.glob(".dsgmigd/results/*.json")]


def lines_of(spool: Spool) -> list[dict[str, Any]]:
    """Return what the lines of the ledger say, the oldest first."""
    return [json.loads(line) for line in spool.ledger.read()]
