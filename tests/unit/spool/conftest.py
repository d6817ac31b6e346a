"""A prepared spool on a real directory, as instance 1 sees it."""

from pathlib import Path

import pytest

from dsgmigd.spool.spool import Spool


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Spool(str(tmp_path)).prepare()
    return tmp_path


@pytest.fixture
def spool(directory: Path) -> Spool:
    spool = Spool(str(directory), instance=1)
    spool.instances.lock().release()
    return spool
