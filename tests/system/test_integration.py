"""The integration tests on the kernel's OpenZFS: each of their files runs in a machine.

The tests make pools of their own, in files. `make test-openzfs` runs this file, `make system-test`
the others of this folder.
"""

import re
from collections.abc import Callable

import pytest

from tests.amounts import amount
from tests.integration import releases
from tests.system.conftest import INTEGRATION_TESTS
from tests.system.host import Host
from tests.system.image import CHECKOUT

SECONDS = 3600
FOLDER = "tests/integration"
FILES = sorted(path.name for path in (CHECKOUT / FOLDER).glob("test_*.py"))
RAN = re.compile(r"integration tests that ran on real btrfs and ZFS: (\d+)")


@pytest.fixture(scope="session", autouse=True)
def fetched() -> None:
    """Fetch what tests would fetch before a machine is set up, which has no network."""
    for package in releases.RELEASES:
        releases.archives(package, int(amount("DSGMIGD_RELEASES")))


@pytest.mark.parametrize("name", FILES)
def test_on_openzfs(host: Host, name: str, record_property: Callable[[str, object], None]) -> None:
    output = host.pytest(f"{FOLDER}/{name}", "-rs", seconds=SECONDS)
    assert output.endswith("exit status 0"), output[-20_000:]
    found = RAN.search(output)
    assert found, output
    record_property(INTEGRATION_TESTS, int(found[1]))
    print(output)
