"""Which error a message of zfs(8) stands for."""

import pytest

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetChanged,
    TargetExists,
    TargetFull,
    TargetMissing,
    TargetUnavailable,
)
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import RefusingZfs


# The messages of zfs(8); the integration tests provoke them on a real pool.
@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("cannot open 'zsd/SV': dataset does not exist", TargetMissing),
        ("cannot create 'zsd/a/b': parent does not exist", TargetMissing),
        # OpenZFS, where zfs-fuse says "snapshot does not exist".
        ("could not find any snapshots to destroy; check snapshot names.", TargetMissing),
        ("cannot open 'tank': no such pool", TargetUnavailable),
        ("cannot iterate: pool I/O is currently suspended", TargetUnavailable),
        ("cannot create 'zsd/SV': dataset already exists", TargetExists),
        ("cannot create snapshot 'zsd/SV@s1': out of space", TargetFull),
        ("cannot create 'zsd/SV': No space left on device", TargetFull),
        ("cannot create snapshot 'zsd/SV@s1': quota exceeded", TargetFull),
        ("cannot unmount '/zsd/SV': Device or resource busy", TargetBusy),
        ("cannot destroy 'zsd/SV': dataset is busy", TargetBusy),
        ("cannot destroy 'zsd/SV@s1': snapshot has dependent clones", TargetBusy),
        ("cannot destroy 'zsd/SV': filesystem has children", TargetChanged),
        ("cannot mount '/zsd/SV': failed to create mountpoint: File exists", TargetBusy),
        ("internal error: Connection reset by peer", TargetUnavailable),
        ("internal error: failed to initialize ZFS library", TargetUnavailable),
        ("The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs'", TargetUnavailable),
        ("cannot set property for 'zsd/SV': permission denied", CommandFailed),
    ],
)
def test_a_message_of_the_command_becomes_a_kind_of_error(
    stderr: str, kind: type[DsgmigdError]
) -> None:
    zfs = Zfs(RefusingZfs(stderr), sleep=lambda _: None)
    with pytest.raises(DsgmigdError) as caught:
        zfs.set_property("zsd/SV", "request", "r")
    assert type(caught.value) is kind
    assert stderr in caught.value.message
