"""What depends on the abilities of OpenZFS: holes, and the integration tests on its pools.

DSGMIGD_SPARSE_GIBIBYTES is how large the sparse file is. The integration tests make pools of their
own, in files.
"""

import os
import time

import pytest

from tests.system.host import SPOOL, TARGET, Host

SPARSE_GIBIBYTES = int(os.environ.get("DSGMIGD_SPARSE_GIBIBYTES", "4"))
# On a real host too: tens of attempts by members of the group and by strangers.
HOSTILE = "test_hostile_users"
FILES = ["test_migration", "test_oddities", "test_plans", "test_levels", "test_random_histories"]
FILES += ["test_scope", "test_full_target", "test_corruption", "test_verify_command"]
FILES += ["test_bit_flips", "test_crashes", "test_random_kills"]


@pytest.mark.nightly
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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) for name in [HOSTILE, *FILES]]
)
def test_the_integration_tests_hold_on_openzfs(host: Host, name: str) -> None:
    host.run("systemctl stop 'dsgmigd@*.service'", seconds=600)
    began = time.monotonic()
    words = host.pytest(f"tests/integration/{name}.py", seconds=7200)
    print(f"{name}: {time.monotonic() - began:.0f} s")
    assert words.endswith("exit status 0"), words[-20_000:]
