"""What a target file system can hold, and what may be lost: pure rules."""

from dataclasses import dataclass

from dsgmigd.errors import LossNotAllowed
from dsgmigd.request import Loss


@dataclass(frozen=True)
class Abilities:
    """What the target can hold."""

    xattrs: bool = True
    subsecond_mtime: bool = True

    def lacking(self) -> tuple[Loss, ...]:
        """Return what would be lost, by name."""
        losses: list[Loss] = []
        if not self.xattrs:
            losses.append("xattr")
        if not self.subsecond_mtime:
            losses.append("subsecond_mtime")
        return tuple(losses)


def check_losses(abilities: Abilities, allowed: tuple[Loss, ...]) -> None:
    """Raise LossNotAllowed for a loss that every source would suffer and nobody allowed.

    Times below the second are in every source; whether extended attributes are there shows only
    while it is read.
    """
    if "subsecond_mtime" in abilities.lacking() and "subsecond_mtime" not in allowed:
        raise LossNotAllowed(
            "the target keeps whole seconds of modification times only",
            hint='choose another target, or submit with "allow_loss": ["subsecond_mtime"]',
        )
