"""The mountpoint of a dataset that is kept in replaced/, if it has one of its own.

Somebody set it on the target, so users find the target there. After the next boot they would find
the kept dataset, and work in it. So it is not mounted by itself (canmount=noauto) until it is the
target again. Both functions may be repeated.

Raises: those of dsgmigd.target.zfs.
"""

from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import MOUNTS_ITSELF
from dsgmigd.target.zfs import Zfs

_OWN = frozenset({"local", "received"})


def keep_unmounted(zfs: Zfs, name: str) -> None:
    """Let a dataset that was just moved aside stay unmounted, unless somebody mounts it by name."""
    is_own = zfs.sources(name, ("mountpoint",))["mountpoint"] in _OWN
    if is_own and zfs.option(name, "canmount") == "on":
        zfs.set_property(name, MOUNTS_ITSELF, "yes")
        zfs.set_option(name, "canmount", "noauto")


def let_mount(zfs: Zfs, kept: Dataset) -> None:
    """Undo it, before the dataset becomes the target again; `kept` was read with that property."""
    if kept.properties.get(MOUNTS_ITSELF) == "yes":
        zfs.set_option(kept.name, "canmount", "on")
        zfs.set_property(kept.name, MOUNTS_ITSELF, "no")
