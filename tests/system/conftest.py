"""The virtual machine that the tests share.

They run only where somebody asks for them (`make system-test`): they take minutes. Those that are
marked `nightly` run where DSGMIGD_NIGHTLY is set too (`make system-nightly`), and are deselected
elsewhere.
"""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.host import Host

_LINES = 80


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nightly: what is left out when minutes count")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out and not os.environ.get("DSGMIGD_NIGHTLY"):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@contextmanager
def new_host() -> Iterator[Host]:
    """Give a host that was just set up, and take away all of it."""
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-vm-", dir="/var/tmp"))
    try:
        with Host(directory) as made:
            made.set_up()
            yield made
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The machine that all tests share, one after the other: a boot takes longer than most."""
    with new_host() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its machine said last."""
    report = yield
    used = getattr(item, "funcargs", {}).get("host")
    if report.failed and isinstance(used, Host):
        report.sections.append(("the machine's journal", used.words()))
    return report
