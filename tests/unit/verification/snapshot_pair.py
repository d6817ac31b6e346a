"""A source snapshot and its target on an ordinary file system, equal at first."""

import inspect
import os
from pathlib import Path

from dsgmigd.request import VerifyLevel
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier
from tests.unit.verification.metadata.dsg_documents import write_documents

MTIME = 1_399_483_646_123_456_789
FILES = 8
FILE_BYTES = 9 + 5000 + 6 + 6 + 3 + 1 + 4 + 0


class World:
    """A source snapshot and its target, equal at first."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.target = directory / "target"
        for root in (self.source, self.target):
            _plant(root)
        (self.source / ".snap").mkdir()
        (self.source / ".snap" / "push.log").touch()
        (self.source / "HEAD").touch()
        self.copy_times()
        write_documents(self.target, 1)

    def copy_times(self) -> None:
        """Give everything its time, so that only what a test changes afterwards differs."""
        for root in (self.source, self.target):
            for path in (root, *root.rglob("*")):
                os.utime(path, ns=(MTIME, MTIME), follow_symlinks=False)

    def verify(
        self, *, level: VerifyLevel = "complete", capabilities: Capabilities | None = None
    ) -> Verification:
        verifier = Verifier(
            level=level, hash_threads=2, capabilities=capabilities or Capabilities()
        )
        return verifier.verify(str(self.source), str(self.target), 1, Moments())

    def found(self) -> set[tuple[str, str]]:
        found = self.verify()
        assert found.discrepancy_count == len(found.discrepancies)
        return {(one.path, one.attribute) for one in found.discrepancies}


def calling_functions() -> list[str]:
    """Return the functions and methods that this thread executes, the innermost first."""
    return [one.frame.f_code.co_qualname for one in inspect.stack(context=0)]


def _plant(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"content a")
    (root / "d" / "b.bin").write_bytes(b"01234" * 1000)
    (root / "d" / "link").symlink_to("b.bin")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "h1").write_bytes(b"linked")
    (root / "d" / "h2").hardlink_to(root / "h1")
    (root / "d" / ".hidden").write_bytes(b"hid")
    (root / "d" / "HEAD").write_bytes(b"x")
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"odd\n")
    (root / "ünï\nline").write_bytes(b"")
    os.mkfifo(root / "pipe")
