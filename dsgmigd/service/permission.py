"""What a member of the spool's group may ask for. Pure rules.

The configuration is the administrator's word: a member's request may make it stricter. It may
loosen only what `[spool] members_may` names. Requests of root and of the daemon's user may do both.

Raises: InvalidRequest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsgmigd.errors import InvalidRequest
from dsgmigd.migration.job import Settings
from dsgmigd.request import VERIFY_STRENGTH, Loosening, Request
from dsgmigd.spool.submitter import is_administrator


@dataclass(frozen=True)
class Permission:
    """What the configuration says, and what members may loosen of it."""

    settings: Settings
    members_may: Sequence[Loosening] = ()

    def check(self, request: Request, submitted_by: Mapping[str, Any]) -> None:
        """Raise InvalidRequest if the submitter may not loosen what this request loosens."""
        is_trusted = is_administrator(submitted_by.get("uid"))
        if is_trusted and not submitted_by.get("is_shared"):
            return
        for key, configured in _loosened(request, self.settings).items():
            if key in self.members_may:
                continue
            asked = json.dumps({key: request.to_json()[key]})[1:-1]
            who = submitted_by.get("user") or submitted_by.get("uid", "unknown")
            if is_trusted:
                raise _refused_as_shared(asked, who)
            raise InvalidRequest(
                f"user {who} may not ask for {asked}, because the configuration has {configured}",
                hint=f"leave it out, or ask an administrator to submit the request, or to add "
                f'"{key}" to members_may in the section [spool] of dsgmigd.toml',
            )


def _refused_as_shared(asked: str, who: str) -> InvalidRequest:
    return InvalidRequest(
        f"{asked} is refused: others than its owner {who} can write to the file",
        hint="write a new request with mode 644, or use dsgmigd submit",
    )


def _loosened(request: Request, settings: Settings) -> dict[Loosening, str]:
    """Return each key that is less strict than the configuration, and what that says."""
    found: dict[Loosening, str] = {}
    if request.replace and not settings.replace_existing:
        found["replace"] = 'existing = "refuse"'
    if request.rebuild_from and not settings.replace_existing:
        found["rebuild_from"] = 'existing = "refuse"'
    if set(request.allow_loss or ()) - set(settings.allow_loss):
        found["allow_loss"] = f"allow_loss = {json.dumps(list(settings.allow_loss))}"
    level = request.verify or settings.verify_level
    if VERIFY_STRENGTH[level] < VERIFY_STRENGTH[settings.verify_level]:
        found["verify"] = f'level = "{settings.verify_level}"'
    if request.evidence == "none" != settings.evidence:
        found["evidence"] = f'evidence = "{settings.evidence}"'
    return found
