"""Nobody runs a set-ID program or opens a device node in what is published, whatever ZFS it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bed
import pytest

from tests.integration import zfs_kind
from tests.integration.conftest import CHECKOUT, Bed
from tests.integration.trees import new_series
from tests.integration.users import members_and_stranger, reachable

# A mount by zfs-fuse, by a daemon that was started as its package starts it.
PLAIN_DAEMON = """
import sys
from pathlib import Path
import bed
from dsgmigd.host.command import Commands
from dsgmigd.target.mount_flags import restrict_mount
from dsgmigd.target.zfs import Zfs
from tests.integration.mount_namespace import enter_own_mount_namespace

enter_own_mount_namespace()
place, pool = Path(sys.argv[1]), sys.argv[2]
zfs = Zfs(Commands())
try:
    bed.ensure_zfs(place, mount_options=())
    with bed.FilePool(pool, place / "pool.img", place / "zfs"):
        zfs.create(f"{pool}/SV", {"setuid": "off", "devices": "off"}, {})
        print(restrict_mount(zfs, f"{pool}/SV"))
        print(restrict_mount(zfs, f"{pool}/SV"))
        zfs.unmount(f"{pool}/SV")
finally:
    bed.stop_zfs(place)
"""


def flags_of(directory: Path) -> int:
    return os.statvfs(directory).f_flag & (os.ST_NOSUID | os.ST_NODEV)


def with_a_set_id_program(tree: Path) -> None:
    shutil.copy("/usr/bin/id", tree / "id")
    (tree / "id").chmod(0o4755)


def user_number_of(program: Path) -> int:
    """Return as whom the program runs if a stranger starts it."""
    _, _, stranger = members_and_stranger()
    words = subprocess.check_output(
        (program, "-u"), user=stranger.uid, group=stranger.gid, extra_groups=[]
    )
    return int(words)


def test_a_strangers_set_id_program_gives_nothing_however_the_dataset_was_mounted(
    fresh_bed: Bed, state: Path
) -> None:
    new_series(fresh_bed, "SV", with_a_set_id_program)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["warnings"]) == ("done", [])
    published = fresh_bed.mountpoint / "SV"
    safe = os.ST_NOSUID | os.ST_NODEV
    assert flags_of(published) == safe
    with reachable(published / "id", state.parent):
        assert user_number_of(published / "id") != 0
        bed.run("mount", "-o", "remount,bind,suid,dev", published)
        assert user_number_of(published / "id") == 0, "the test tests nothing"
        again = fresh_bed.migrate("SV")
        assert (again["outcome"], flags_of(published)) == ("up_to_date", safe)
        (warning,) = again["warnings"]
        assert f"{published} was " in warning
        assert "nosuid,nodev" in warning
        assert user_number_of(published / "id") != 0
    assert fresh_bed.migrate("SV")["warnings"] == []


@zfs_kind.target_on_fuse
def test_a_zfs_fuse_that_ignores_the_properties_is_told_of_and_mended(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("plain")
    done = subprocess.run(
        (sys.executable, "-c", PLAIN_DAEMON, place, f"dsgp{os.getpid()}"),
        check=False,
        capture_output=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("zfs-fuse ignores setuid=off and devices=off")
    assert "/etc/zfs/zfsrc" in first
    assert second == "None"
