"""Where zfs-fuse and the kernel's OpenZFS differ: the only module of these tests that asks for it.

On most hosts the tests get zfs-fuse; `make test-openzfs` runs them on OpenZFS.
"""

import bed
import pytest

IS_FUSE = bed.zfs_kind() == "fuse"

# What a target loses: zfs-fuse keeps whole seconds, and neither extended attributes nor ACLs.
LOSSES = ("xattr", "acl", "subsecond_mtime") if IS_FUSE else ()
# With which options rsync compares all that the target holds.
RSYNC_TIMES = "--modify-window=0" if IS_FUSE else "--modify-window=-1"
RSYNC_ATTRIBUTES = () if IS_FUSE else ("-AX",)
# A clone that is destroyed while it is in use may stay in zfs-fuse, hidden and half destroyed. Then
# its origin can never be destroyed: "dataset already exists".
CAN_DESTROY_CLONES_IN_USE = not IS_FUSE
# The property "written" came after zfs-fuse.
HAS_WRITTEN = not IS_FUSE
# The history of zfs-fuse has no names of snapshots.
TELLS_WHERE_A_SNAPSHOT_WAS_MADE = not IS_FUSE
# OpenZFS counts used space some time after the write.
COUNTS_SPACE_LATER = not IS_FUSE
# Only OpenZFS refuses a root who is one in a user namespace alone.
ERROR_IN_USER_NAMESPACE = "source_missing" if IS_FUSE else "target_unavailable"

target_with_losses = pytest.mark.skipif(not IS_FUSE, reason="OpenZFS holds all that btrfs does")
target_on_fuse = pytest.mark.skipif(not IS_FUSE, reason="only zfs-fuse brings a FUSE file system")
target_of_a_daemon = pytest.mark.skipif(
    not IS_FUSE, reason="no signal stops the kernel: tests/system suspends a pool instead"
)
target_that_mounts_over_files = pytest.mark.skipif(
    IS_FUSE, reason="zfs-fuse mounts over empty directories only"
)
target_with_holds = pytest.mark.skipif(IS_FUSE, reason="zfs-fuse does not answer `zfs holds`")
target_with_all_properties = pytest.mark.skipif(IS_FUSE, reason="zfs-fuse lacks half of them")
target_with_volumes = pytest.mark.skipif(IS_FUSE, reason="zfs-fuse has no volumes")
target_with_snapdir = pytest.mark.skipif(IS_FUSE, reason="zfs-fuse has no directory .zfs")
target_that_mounts_snapshots = pytest.mark.skipif(IS_FUSE, reason="zfs-fuse mounts no snapshots")
target_with_counted_transactions = pytest.mark.skipif(
    IS_FUSE, reason="zfs-fuse does not tell its transactions"
)
