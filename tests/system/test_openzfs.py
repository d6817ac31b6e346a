"""What depends on OpenZFS: holes, and the words of the version that Debian 12 has.

DSGMIGD_SPARSE_GIBIBYTES is how large the sparse file is.
"""

import os
import time

import pytest

from tests.system.host import SPOOL, TARGET, EmulatedHost, Host

SPARSE_GIBIBYTES = int(os.environ.get("DSGMIGD_SPARSE_GIBIBYTES", "4"))


def test_a_huge_sparse_file_costs_its_data_and_the_hashing_of_zeros(host: Host) -> None:
    host.inside("sparse", "huge", str(SPARSE_GIBIBYTES))
    host.start()
    host.run(f"touch {SPOOL}/huge.request")
    began = time.monotonic()
    result = host.result("huge", seconds=7200)
    print(f"{SPARSE_GIBIBYTES} GiB, two snapshots: {time.monotonic() - began:.0f} s")
    assert (result["outcome"], result["error"]) == ("done", None)
    for row in result["snapshots"]:
        assert row["bytes"] < 1 << 20
        assert row["verification"]["source_bytes_read"] < 1 << 20
        assert row["verification"]["target_bytes_read"] < 1 << 20
    blocks = host.run(f"stat --format=%b {TARGET}/huge/.zfs/snapshot/s2/sparse")
    assert int(blocks) * 512 < 1 << 20


@pytest.mark.nightly
def test_openzfs_2_1_does_and_says_what_is_expected_of_it(emulated: EmulatedHost) -> None:
    """The other machine has Debian 12's commands too, but a newer OpenZFS in its kernel.

    The power cut, which is always tried, migrates with 2.1 too.
    """
    assert "zfs-kmod-2.1" in emulated.run("zfs version")
    # Emulation takes minutes: what is refused by the command, all else by the library too.
    tests = "'(refuses and command) or (native and not refuses)'"
    output = emulated.pytest("tests/integration/test_zfs.py", "-k", tests, seconds=3600)
    assert output.endswith("exit status 0"), output[-20_000:]
