"""What dsgmigd knows about ZFS: datasets, snapshots and the pool's health."""
