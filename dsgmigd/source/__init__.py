"""What dsgmigd knows about btrfs: subvolumes, send streams and their replay."""
