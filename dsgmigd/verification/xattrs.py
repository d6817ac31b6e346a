"""Compare the extended attributes of one path, as far as the target can store them.

Raises: the errors of `side`. Differences are data.
"""

from dsgmigd.host.hashing import hash_bytes
from dsgmigd.target.capabilities import Capabilities, is_carried_xattr
from dsgmigd.verification.contents import Pair
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_context import WalkContext


def compare_xattrs(
    context: WalkContext, capabilities: Capabilities, source: Side, target: Side, pair: Pair
) -> None:
    """Compare the attributes of a path on both sides; note those that the target cannot store."""
    found = source.xattrs(pair.path, pair.name, pair.source)
    losses = {name: capabilities.xattr_loss(name) for name in found}
    carried = {name for name in found if is_carried_xattr(name)}
    for loss in {losses[name] for name in carried}:
        if loss is not None:
            context.result.add_loss(loss, pair.path)
    if not capabilities.xattrs and not capabilities.acls:
        return
    expected = {name: found[name] for name in carried if losses[name] is None}
    there = target.xattrs(pair.path, pair.name, pair.target)
    there = {name: there[name] for name in there if is_carried_xattr(name)}
    for name in sorted(expected.keys() | there.keys()):
        if expected.get(name) != there.get(name):
            values = _shown(expected.get(name)), _shown(there.get(name))
            context.differ(pair.path, f"xattr {name}", *values)


def _shown(value: bytes | None) -> str:
    # Whoever reads a result may not be one who may read the attribute.
    return "not set" if value is None else f"{len(value)} bytes with hash {hash_bytes(value)}"
