"""The commands of a send stream that change modes, owners, times and extended attributes.

Raises: LossNotAllowed, UnexpectedCommand, KeyError, ValueError; OSError, as the kernel gave it.
"""

import os
import stat

from dsgmigd.errors import LossNotAllowed
from dsgmigd.request import Loss
from dsgmigd.source.send_stream import Attributes, Field
from dsgmigd.target.capabilities import Capabilities, is_carried_xattr
from dsgmigd.transfer.fields import UnexpectedCommand, nanoseconds_in, number_in
from dsgmigd.transfer.reports import ReportingTree


class AttributeChanges:
    """Changes attributes in `tree`.

    What the `capabilities` of the target do not cover is an error unless its loss is `allowed`.
    """

    def __init__(
        self, tree: ReportingTree, capabilities: Capabilities, allowed: frozenset[Loss]
    ) -> None:
        self._tree = tree
        self._capabilities = capabilities
        self._allowed = allowed

    def change_mode(self, path: bytes, attributes: Attributes) -> None:
        """Set the permission bits."""
        mode = stat.S_IMODE(number_in(attributes, Field.MODE))
        if not self._tree.change_mode(path, mode):
            raise UnexpectedCommand(f"is for a symbolic link, {path!r}")

    def change_owner(self, path: bytes, attributes: Attributes) -> None:
        """Set user and group."""
        uid, gid = number_in(attributes, Field.UID), number_in(attributes, Field.GID)
        self._tree.change_owner(path, uid, gid)

    def set_times(self, path: bytes, attributes: Attributes) -> None:
        """Set the times to the nearest that the target holds."""
        held = self._capabilities.held_mtime_ns
        mtime_ns = nanoseconds_in(attributes, Field.MTIME)
        if self._capabilities.mtime_loss(mtime_ns) == "mtime_range":
            self._check_allowed("mtime_range", path, "a time out of range")
        self._tree.set_times(path, held(nanoseconds_in(attributes, Field.ATIME)), held(mtime_ns))
        self._tree.report_times(path)

    def set_xattr(self, path: bytes, attributes: Attributes) -> None:
        """Set an extended attribute, unless it says how btrfs stores the file."""
        name, value = bytes(attributes[Field.XATTR_NAME]), bytes(attributes[Field.XATTR_DATA])
        if not is_carried_xattr(os.fsdecode(name)):
            return
        loss = self._capabilities.xattr_loss(os.fsdecode(name))
        if loss is None:
            self._tree.set_xattr(path, name, value)
        else:
            self._check_allowed(loss, path, os.fsdecode(name))

    def remove_xattr(self, path: bytes, attributes: Attributes) -> None:
        """Remove an extended attribute, if it was set."""
        name = bytes(attributes[Field.XATTR_NAME])
        text = os.fsdecode(name)
        if is_carried_xattr(text) and self._capabilities.xattr_loss(text) is None:
            self._tree.remove_xattr(path, name)

    def _check_allowed(self, loss: Loss, path: bytes, what: str) -> None:
        """Raise LossNotAllowed; preflight should have done so before anything was copied."""
        if loss not in self._allowed:
            raise LossNotAllowed(
                f"{os.fsdecode(path)!r} has {what}, which the target cannot hold",
                hint=f'choose another target, or submit with "allow_loss": ["{loss}"]',
            )
