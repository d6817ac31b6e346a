"""The machines that the tests share.

They run only where somebody asks for them (`make system-test`): they take minutes. Those that are
marked `nightly` run only with DSGMIGD_TESTS=nightly (`make system-nightly`), and are deselected
elsewhere.
"""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pytest

from tests import amounts
from tests.system.host import EmulatedHost, Host, StorageHost

INTEGRATION_TESTS = "integration tests"
Kind = TypeVar("Kind", Host, EmulatedHost)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nightly: what is left out when minutes count")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out and amounts.LEVEL != "nightly":
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # They take longest: the other processes do the rest meanwhile.
    items.sort(key=lambda item: "emulated" not in getattr(item, "fixturenames", ()))


@contextmanager
def set_up(kind: type[Kind]) -> Iterator[Kind]:
    """Give a host that was just set up, and remove all of it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-vm-", dir="/var/tmp"))
    try:
        with kind(directory) as made:
            made.set_up()
            yield made
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The user-mode machine that the tests of this process share, one after the other."""
    with set_up(Host) as made:
        yield made


@pytest.fixture(scope="session")
def emulated() -> Iterator[EmulatedHost]:
    """The emulated machine, for power cuts: a boot takes it longer than most tests."""
    with set_up(EmulatedHost) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its machine said last."""
    report = yield
    for used in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(used, StorageHost):
            report.sections.append(("the machine's journal", used.words()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many integration tests ran in the machines: one test here is a file of them."""
    properties = chain.from_iterable(
        report.user_properties for report in terminalreporter.stats.get("passed", ())
    )
    counts = [count for name, count in properties if name == INTEGRATION_TESTS]
    if counts:
        terminalreporter.write_line(f"integration tests that passed on OpenZFS: {sum(counts)}")
