"""Thousands of faulty streams: none reaches outside staging, and every error is a DsgmigdError."""

import io
import os
import re
import resource
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.dsg.manifest import Manifest
from dsgmigd.errors import DsgmigdError, StreamCorrupt
from dsgmigd.host.directories import Directories
from dsgmigd.source.send_stream import Kind, read_commands
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer.replay import Replay
from tests.amounts import amount
from tests.unit.source.stream_faults import UNASKED, WHOLE, faulty_stream, whole_stream

CASES = int(amount("DSGMIGD_STREAMS"))
SIGN = b"\xa5\x5a"
SECRET = SIGN * 10
_FILE_LIMIT_BYTES = 256 * 1024
_PLACE = re.compile(r"stream, (offset|command) \d+:")


class World:
    """A staging directory and its parent, both with links that lead out, and what is outside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "staging"
        self.parent = directory / "parent"
        self.outside = directory / "outside"
        (self.outside / "sub").mkdir(parents=True)
        for name in ("secret", "sub/deep"):
            (self.outside / name).write_bytes(SECRET)
        self._plant(self.parent)
        self.root.mkdir()
        self.has_xattrs = self._holds_xattrs()
        self.before = self.untouchable()
        self.descriptors = os.listdir("/proc/self/fd")

    def _plant(self, root: Path) -> None:
        for directory in (root, root / "d", root / "empty"):
            directory.mkdir()
        (root / "f").write_bytes(b"content")
        (root / "d" / "g").write_bytes(b"content of g")
        os.link(root / "f", root / "h")
        os.mkfifo(root / "pipe")
        (root / "file").symlink_to(self.outside / "secret")
        for way in (root / "way", root / "d" / "way"):
            way.symlink_to(self.outside)

    def _holds_xattrs(self) -> bool:
        try:
            os.setxattr(self.root, "user.probe", b"1")
        except OSError:
            return False
        return True

    def renew(self) -> Manifest:
        """Create the staging directory again; return a manifest of it."""
        _clear(self.root)
        self._plant(self.root)
        manifest = Manifest()
        for path in (b"d", b"empty"):
            manifest.created_directory(path)
        for path in (b"f", b"d/g", b"h", b"pipe", b"file", b"way", b"d/way"):
            manifest.created(path)
        return manifest

    def replay(self, stream: bytes) -> str:
        """Replay a stream onto a new staging directory; return the outcome."""
        manifest = self.renew()
        try:
            with Directories(str(self.root)) as staging, Directories(str(self.parent)) as parent:
                replay = Replay(
                    staging,
                    manifest,
                    parent=parent,
                    capabilities=Capabilities(xattrs=self.has_xattrs, acls=self.has_xattrs),
                    allowed=("xattr", "acl"),
                )
                replay.apply(read_commands(io.BytesIO(stream).read), checkpoint=lambda: None)
        except StreamCorrupt as error:
            outcome = place_named(error)
        except DsgmigdError as error:
            outcome = error.code
        else:
            outcome = "done"
        for path in replay.deferred:
            assert path, "the root itself would be copied again"
            assert not {b"", b".", b".."} & set(path.split(b"/")), path
        return outcome

    def check(self) -> None:
        """Fail if anything outside of staging changed, was read, or is still open."""
        assert self.untouchable() == self.before
        assert os.listdir("/proc/self/fd") == self.descriptors
        for directory, _, names in os.walk(os.fsencode(self.root)):
            for name in names:
                path = os.path.join(directory, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    assert SIGN not in Path(os.fsdecode(path)).read_bytes()

    def untouchable(self) -> list[tuple[object, ...]]:
        """Return everything that can be known about what is not staging."""
        found: list[tuple[object, ...]] = [(sorted(os.listdir(self.directory)),)]
        for place in (self.outside, self.parent):
            for directory, directories, names in os.walk(place):
                for path in (directory, *(f"{directory}/{name}" for name in directories + names)):
                    status = os.lstat(path)
                    facts = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid)
                    times = (status.st_mtime_ns, status.st_ctime_ns)
                    found.append((path, *facts, status.st_gid, status.st_size, *times))
        return found


def place_named(error: StreamCorrupt) -> str:
    """Return how an error gives the position of the fault in the stream."""
    place = _PLACE.search(error.message)
    assert place, error
    return place[1]


def _clear(root: Path) -> None:
    if os.geteuid():
        for directory, _, _ in os.walk(root):  # a stream may close a directory to its owner
            os.chmod(directory, 0o700)
    shutil.rmtree(root)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a world in memory, which is much faster, in which no file grows beyond a limit."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path  # noqa: S108
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        world = World(Path(directory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, hard))
        try:
            yield world
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            world.renew()  # the last case may have closed a directory


def test_the_streams_have_every_command_that_there_is() -> None:
    used = {kind for commands in (*WHOLE.values(), UNASKED) for kind, _ in commands}
    assert used | {Kind.SNAPSHOT, Kind.END} == set(Kind)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_without_a_fault_is_replayed_to_its_end(
    world: World, name: str, version: int
) -> None:
    assert world.replay(whole_stream(WHOLE[name], version)) == "done"
    world.check()


@pytest.mark.sweep
def test_no_faulty_stream_leaves_the_staging_directory_or_ends_in_an_error_not_ours(
    world: World,
) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        stream, is_damaged = faulty_stream(number)
        try:
            outcome = world.replay(stream)
            assert outcome == "offset" or not is_damaged, "damage was not seen"
            world.check()
        except BaseException as error:
            error.add_note(f"this was faulty_stream({number})")
            raise
        outcomes[outcome] += 1
    # Each part of the way was the last for some.
    wanted = {"done", "offset", "command", "target_io", "target_refused"}
    assert wanted <= outcomes.keys(), outcomes
    assert min(outcomes[one] for one in wanted) * 100 > CASES, outcomes
