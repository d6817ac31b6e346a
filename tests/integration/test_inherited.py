"""Properties of the target's parent that every dataset below it inherits, on OpenZFS."""

import os
from dataclasses import replace
from pathlib import Path

import bed
import pytest

from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.trees import assert_migrated, new_series, write

TOLERATED = (
    *("recordsize=4K", "copies=2", "dedup=on", "sync=always", "sync=disabled", "checksum=sha256"),
    *("compression=off", "atime=on", "exec=off", "devices=on", "setuid=on", "overlay=off"),
    *("primarycache=none", "xattr=on", "xattr=sa", "acltype=posix", "snapdir=visible"),
    *("logbias=throughput", "dnodesize=auto", "canmount=noauto", "com.sun:auto-snapshot=true"),
)
REFUSED = {
    "xattr=off": "loss_not_allowed",
    "acltype=off": "loss_not_allowed",
    "utf8only=on": "target_refused",
    "casesensitivity=insensitive": "target_refused",
    "normalization=formC": "target_refused",
    "readonly=on": "target_missing",
    "canmount=off": "target_unavailable",
    "mountpoint=legacy": "target_missing",
    "quota=1M": "target_full",
}


def below(made: Bed, *properties: str) -> Bed:
    """Return the bed with a parent that has these properties."""
    options = [word for one in properties for word in ("-o", one)]
    parent = f"{made.parent}/parent"
    bed.run("zfs", "create", *options, parent)
    if "canmount=noauto" in properties:
        bed.run("zfs", "mount", parent)
    made = replace(made, parent=parent, mountpoint=made.mountpoint / "parent")
    write_config(made)
    return made


def fill(tree: Path) -> None:
    """Write what not every file system holds."""
    write(tree / "file", os.urandom(2 << 20))
    os.setxattr(tree / "file", "user.a", b"1")
    bed.run("setfacl", "-m", "u:12:r", tree / "file")
    for name in (b"\xff", b"name", b"NAME", "é".encode(), "e\u0301".encode()):
        write(Path(os.fsdecode(os.fsencode(tree / "names") + b"/" + name)))


@zfs_kind.target_with_all_properties
@pytest.mark.parametrize("one", TOLERATED)
def test_a_property_that_changes_no_content_is_tolerated(fresh_bed: Bed, one: str) -> None:
    made = below(fresh_bed, *{"acltype=posix", one})
    series = new_series(made, "SV", fill, lambda tree: write(tree / "second"))
    for limit in ("1", "2"):
        result = made.migrate("SV", "--limit", limit)
        assert result["outcome"] == "done", result["error"]
        assert result["target"]["mountpoint"] == str(made.mountpoint / "SV")
    assert_migrated(made, "SV", series.directory, 2)


@zfs_kind.target_with_all_properties
@pytest.mark.parametrize("one", REFUSED)
def test_a_property_with_which_something_would_be_lost_is_refused(fresh_bed: Bed, one: str) -> None:
    made = below(fresh_bed, "acltype=posix" if "acl" not in one else "exec=on", one)
    new_series(made, "SV", fill)
    result = made.migrate("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", REFUSED[one])


CHANGED_NAMES = {
    "casesensitivity=insensitive": ("d/readme", "d/README"),
    "normalization=formC": ("d/\u00e9", "d/e\u0301"),
}


@zfs_kind.target_with_all_properties
@pytest.mark.parametrize("may_send", [True, False], ids=["send", "rsync"])
@pytest.mark.parametrize("one", CHANGED_NAMES)
def test_a_name_that_only_changes_its_spelling_is_refused_before_the_work(
    fresh_bed: Bed, one: str, *, may_send: bool
) -> None:
    made = below(fresh_bed, "acltype=posix", one)
    if not may_send:
        write_config(made, source='engine = "rsync"')
    old, new = CHANGED_NAMES[one]
    new_series(
        *(made, "SV", lambda tree: write(tree / old)),
        lambda tree: (tree / "d").rename(tree / "other"),
        lambda tree: (tree / "other" / Path(old).name).rename(tree / "other" / Path(new).name),
    )
    assert made.migrate("SV", "--limit", "2")["outcome"] == "done"
    result = made.migrate("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "target_refused")
    assert "s3 has content" in result["error"]["message"]
    assert "names that the snapshot before has in another case" in result["error"]["message"]
    assert result["snapshots"] == []
