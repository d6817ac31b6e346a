"""Contents are read by threads that use few descriptors and leave none open."""

import os
import resource
from pathlib import Path

import pytest

from dsgmigd.errors import HostExhausted
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.contents import reading_threads
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier
from tests.unit.verification.metadata.dsg_documents import write_documents
from tests.unit.verification.snapshot_pair import MTIME


def test_many_directories_with_a_file_each_take_few_descriptors(tmp_path: Path) -> None:
    for side in ("source", "target"):
        for number in range(600):
            path = tmp_path / side / f"d{number}" / "f"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"%d" % number)
            os.utime(path, ns=(MTIME, MTIME))
    for root in (tmp_path / "source", tmp_path / "target"):
        for path in (*root.iterdir(), root):
            os.utime(path, ns=(MTIME, MTIME))
    write_documents(tmp_path / "target", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (950, hard))
    try:
        found = Verifier(level="complete", hash_threads=2, capabilities=Capabilities()).verify(
            str(tmp_path / "source"), str(tmp_path / "target"), 1, Moments()
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.files_read, found.discrepancies) == (600, [])


def test_a_host_that_starts_no_thread_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(HostExhausted), reading_threads(1) as pool:
        pool.submit(int)


def test_an_error_of_the_reading_itself_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="LZ4"), reading_threads(1):
        raise RuntimeError("LZ4")
