"""dsgmigd carries versioned repositories from btrfs to ZFS with their whole history."""

__version__ = "0.1.0"
