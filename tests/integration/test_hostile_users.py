"""Users who try to read, exchange or hold up what is not theirs, on a spool that a worker serves.

Two members of the spool's group, one honest and one not, and a stranger: real users in processes of
their own. Nothing of what is tried may work, and after each attempt honest requests are answered
within ten seconds, and the time that a migration takes on this host.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.service.rejections import LIMIT
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.integration.conftest import Bed
from tests.integration.processes import is_stopped, wait_for, wait_started
from tests.integration.trees import new_series, writing
from tests.integration.users import User, members_and_stranger, reachable

SECRET = "root:$6$not-for-you"  # noqa: S105 # nobody's
BUSY = RepoName("BUSY")
# sys/mount.h
_NOSUID_NODEV = 2 | 4
REFUSED = {errno.EACCES, errno.EPERM}
# How long a worker may take for what hostile users left in front of an honest request.
HELD_UP_SECONDS = 10.0


@dataclass
class Scene:
    """A spool of a group, a worker, and who is there.

    `patience_seconds` is how long an honest request may wait for its result.
    """

    made: Bed
    honest: User
    hostile: User
    stranger: User
    secret: Path
    worker: Any
    patience_seconds: float

    @property
    def spool(self) -> Path:
        return self.made.spool

    def put_in(self, name: str, content: str = "", *, user: User | None = None) -> None:
        """Write a file as a user and rename it into its place, as one should."""
        made = self.spool / f".{name[:20]}.new"

        def put() -> None:
            made.write_text(content)
            made.rename(self.spool / name)

        (user or self.hostile).does(put)

    def is_answered(self, *repos: str) -> None:
        """Let the honest member ask for `repos`, and fail unless he is answered soon and well.

        By default for SV, which the hostile one is after, and for OTHER, which nobody touched.
        """
        for repo in repos or ("SV", "OTHER"):
            self._is_answered(repo)
        assert self.worker.poll() is None

    def _is_answered(self, repo: str) -> None:
        before = self.answer(repo).get("request_id")
        self.put_in(f"{repo}.request", user=self.honest)

        def is_over() -> bool:
            is_new = self.answer(repo).get("request_id") != before
            return is_new and not is_ours(self.spool / f"{repo}.claim.1")

        patience = self.patience_seconds
        wait_for(is_over, f"the result of {repo}", made=self.made, seconds=patience)
        result = self.answer(repo)
        assert result["outcome"] in {"done", "up_to_date"}
        assert result["submitted_by"]["user"] == self.honest.name

    def answer(self, repo: str = "SV") -> dict[str, Any]:
        """Return the result of a repository that is shown, if one of ours is."""
        shown = self.spool / f"{repo}.result.json"
        read: dict[str, Any] = json.loads(shown.read_bytes()) if is_ours(shown) else {}
        return read

    def unharmed(self) -> None:
        """Fail if the secret changed, or stands anywhere that a member may read."""
        status = self.secret.stat()
        assert (status.st_mode & 0o777, status.st_uid) == (0o600, 0)
        assert self.secret.read_text() == SECRET
        told = [*self.spool.rglob("*"), self.made.log(1)]
        assert [path for path in told if SECRET in text_of(path)] == []
        assert self.worker.poll() is None


def is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0


def text_of(path: Path) -> str:
    """Return what stands in a file that is none of the huge ones, and not gone meanwhile."""
    try:
        status = path.lstat()
        is_read = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20
        return path.read_text(errors="replace") if is_read else ""
    except FileNotFoundError:
        return ""


@pytest.fixture
def scene(fresh_bed: Bed, state: Path) -> Iterator[Scene]:
    honest, hostile, stranger = members_and_stranger()
    os.chown(fresh_bed.spool, 0, honest.gid)
    fresh_bed.spool.chmod(0o3730)
    secret = fresh_bed.spool.parent / "shadow"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    for repo in ("SV", "OTHER", "ALONE"):
        new_series(fresh_bed, repo, writing(a="a"))
    patience_seconds = HELD_UP_SECONDS + seconds_undisturbed(fresh_bed, "ALONE")
    with reachable(fresh_bed.spool, state.parent):
        worker = fresh_bed.start_worker(1)
        wait_started(fresh_bed, 1)
        yield Scene(fresh_bed, honest, hostile, stranger, secret, worker, patience_seconds)


def seconds_undisturbed(made: Bed, repo: str) -> float:
    """Migrate a repository without queue and worker; return how long that takes on this host."""
    began = time.monotonic()
    assert made.migrate(repo)["outcome"] == "done"
    return time.monotonic() - began


def attempts_on_what_is_not_theirs(scene: Scene) -> dict[str, Callable[[], object]]:
    """Return what the kernel has to refuse, because of owners and modes that we set."""
    spool, own = scene.spool, scene.spool / ".dsgmigd"
    mine = spool / "mine"
    kept = next(own.glob("results/SV.*"))
    request, result = spool / "WAITS.request", spool / "SV.result.json"
    claim = spool / f"{BUSY}.claim.7"
    return {
        "list the spool": lambda: os.listdir(spool),
        "read the secret": scene.secret.read_text,
        "remove a request": request.unlink,
        "move a request": lambda: request.rename(spool / "away"),
        "exchange a request": lambda: mine.rename(request),
        "change a request": lambda: request.write_text("{}"),
        "remove a result": result.unlink,
        "exchange a result": lambda: mine.rename(result),
        "change a result": lambda: result.write_text("{}"),
        "remove a kept result": kept.unlink,
        "add a kept result": (own / "results/SV.x.json").touch,
        "add to the ledger": lambda: os.open(own / "results/ledger.jsonl", os.O_WRONLY),
        "remove the ledger": (own / "results/ledger.jsonl").unlink,
        "hold the ledger's lock": lambda: os.open(own / "ledger.lock", os.O_RDONLY),
        "read a claim": claim.read_text,
        "remove a claim": claim.unlink,
        "exchange a claim": lambda: mine.rename(claim),
        "move a claim": lambda: claim.rename(spool / "SV.claim.8"),
        "cancel": (own / f"control/{BUSY}.cancel").touch,
        "pause": (own / "control/all").touch,
        "look at controls": lambda: os.listdir(own / "control"),
        "hold a lock": lambda: os.open(own / f"locks/{BUSY}", os.O_RDONLY),
        "be an instance": lambda: os.open(own / "instances/1.lock", os.O_RDONLY),
        "look at work": lambda: os.listdir(own / "work"),
        "move our directory": lambda: own.rename(spool / "away"),
        "move what was refused": lambda: (spool / "rejected").rename(spool / "away"),
        "add to what was refused": (spool / "rejected/x").touch,
        "open the spool to all": lambda: spool.chmod(0o777),
        "move the spool": lambda: spool.rename(spool.with_name("away")),
    }


def test_what_is_not_theirs_the_kernel_refuses_to_members_and_strangers(scene: Scene) -> None:
    scene.is_answered()
    other = Spool(str(scene.spool), instance=7)
    held = other.instances.lock()
    other.control.pause(BUSY)
    submit_request(other, BUSY, Request(note="private"))
    claim = claim_request(other, BUSY)
    assert isinstance(claim, Claim)
    other.records.begin_attempt(claim, Attempt(7))
    other.control.pause(RepoName("WAITS"))
    scene.put_in("WAITS.request", user=scene.honest)
    scene.put_in("mine")
    attempts = attempts_on_what_is_not_theirs(scene)
    assert len(attempts) >= 25
    for user in (scene.hostile, scene.stranger):
        results = {name: user.tries(action) for name, action in attempts.items()}
        assert {name for name, failure in results.items() if failure not in REFUSED} == set()
    assert (scene.spool / "WAITS.request").exists()
    assert (scene.spool / f"{BUSY}.claim.7").exists()
    scene.is_answered()
    scene.unharmed()
    held.release()


def make_socket(path: Path) -> None:
    # A socket's path is short; its directory may be the current one.
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def make_linked(path: Path) -> None:
    path.touch()
    os.link(path, path.with_name("second-name"))


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def forged_record() -> str:
    return json.dumps(
        {
            "dsgmigd_claim": 1,
            "request_id": "forged",
            "repo": "FORGED",
            "options": {"replace": True},
            "rejection": None,
            "attempts": [],
            "submitted_by": {"uid": 0},
            "body_sha256": "",
        }
    )


def requests_that_are_none(scene: Scene) -> dict[str, Callable[[Path], object]]:
    """Return, by the name before `.request`, what is planted, and has to be answered so."""
    return {
        "LINK": lambda path: path.symlink_to(scene.secret),
        "DANGLING": lambda path: path.symlink_to(scene.spool / "made-by-the-worker"),
        "FIFO": os.mkfifo,
        "DIRECTORY": make_directory,
        "SOCKET": make_socket,
        "LINKED": make_linked,
        "SPARSE": make_sparse,
        "FORGED": lambda path: path.write_text(forged_record()),
        "NUL": lambda path: path.write_bytes(b"\0" * 4096),
        "DEEP": lambda path: path.write_text("[" * 60_000),
        "NUMBER": lambda path: path.write_text('{"limit": ' + "9" * 60_000 + "}"),
        "TERMINAL": lambda path: path.write_text('{"\\u001b[2J\\u001b]0;owned\\u0007": 1}'),
    }


BAD_NAMES = [
    *("\x1b[2J\x1b]0;owned\x07", "two\nlines", "..", ".", "-rf", "a b", "$(id)", "a@s1", "x" * 240),
    *("rejected.request", ".dsgmigd", "SV-norm", "SV.claim", "\u202egnp", "%s%n", "'; rm -rf ;'"),
]


def test_planted_requests_are_answered_with_a_refusal_and_hold_nobody_up(scene: Scene) -> None:
    planted = requests_that_are_none(scene)
    for name, make in planted.items():
        scene.hostile.does(lambda name=name, make=make: make(scene.spool / f"{name}.request"))  # type: ignore[misc]
    for name in BAD_NAMES:
        scene.hostile.does((scene.spool / f"{name}.request").touch)
    undecodable = os.fsencode(scene.spool) + b"/\xff\xfe.request"
    scene.hostile.does(lambda: os.close(os.open(undecodable, os.O_CREAT)))
    scene.is_answered()
    for name in planted:
        result = scene.made.wait_result(name)
        assert result["outcome"] == "rejected", name
        assert result["submitted_by"]["user"] == scene.hostile.name
    answers = [json.loads(path.read_bytes()) for path in scene.spool.glob("rejected/*.result.json")]
    assert len(answers) == len(BAD_NAMES) + 1
    assert all(answer["submitted_by"]["uid"] == scene.hostile.uid for answer in answers)
    assert not list(scene.spool.glob("*.request"))
    assert not (scene.spool / "made-by-the-worker").exists()
    log = scene.made.log(1).read_bytes()
    assert log
    assert b"\x1b" not in log
    assert b"\nlines" not in log
    scene.unharmed()


NAMES_WE_USE = ["SV.result.json", "SV.discrepancies.jsonl", "SV.claim.1", "SV.claim.2"]
THINGS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, secret: path.symlink_to(secret),
    "directory": lambda path, _: make_directory(path),
    "pipe": lambda path, _: os.mkfifo(path),
    "hard link": lambda path, _: make_linked(path),
    "file": lambda path, _: path.touch(),
}


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "hard link"])
def test_names_that_we_use_are_taken_back_from_whoever_took_them(scene: Scene, kind: str) -> None:
    for name in NAMES_WE_USE:
        if kind == "hard link" and ".claim." in name:
            continue  # a file is a request of its own there, see below
        scene.hostile.does(lambda name=name: THINGS[kind](scene.spool / name, scene.secret))  # type: ignore[misc]
        scene.is_answered()
        with suppress(FileNotFoundError):
            (scene.spool / "second-name").unlink()
        if name == "SV.claim.2":  # nobody has that number: it stays, and is nothing
            remove(scene.spool / name)
    scene.unharmed()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        bed.run("rm", "-r", path)
    else:
        path.unlink()


def test_a_claim_that_a_user_made_is_no_more_than_a_request_of_his(scene: Scene) -> None:
    scene.put_in("FORGED.claim.1", forged_record())
    result = scene.made.wait_result("FORGED")
    assert (result["outcome"], result["request"]) == ("rejected", {})
    assert result["request_id"] != "forged"
    assert result["submitted_by"]["uid"] == scene.hostile.uid
    scene.is_answered()
    scene.unharmed()


@pytest.mark.parametrize(
    "body", ['{"replace": true}', '{"allow_loss": ["mtime_range"]}', '{"verify": "structure"}']
)
def test_a_member_loosens_nothing_that_the_administrator_did_not_permit(
    scene: Scene, body: str
) -> None:
    scene.is_answered()
    scene.put_in("SV.request", body)
    wait_for(lambda: scene.answer()["outcome"] == "rejected", "a refusal", made=scene.made)
    result = scene.answer()
    assert f"user {scene.hostile.name} may not ask for" in result["error"]["message"]
    assert "members_may" in result["error"]["hint"]
    assert "/replaced/SV" not in bed.run("zfs", "list", "-H", "-r", "-o", "name", scene.made.parent)
    scene.is_answered()


def test_very_many_bogus_requests_leave_few_files_of_root_and_hold_nobody_up(
    scene: Scene,
) -> None:
    def litter() -> None:
        for number in range(300):
            (scene.spool / f"BOGUS{number}.request").write_text("{")

    scene.hostile.does(litter)
    scene.is_answered()
    owned = [path for path in scene.spool.rglob("*BOGUS*") if path.lstat().st_uid == 0]
    assert len(owned) <= 3 * LIMIT  # the lock, the result, and where it is shown
    log = scene.made.log(1).read_text()
    assert log.count("rejections.limited") == 1
    assert log.count("BOGUS") <= 3 * LIMIT
    assert len(list(scene.spool.glob("BOGUS*.request"))) == 300 - LIMIT
    scene.put_in("VALID.request")
    assert scene.made.wait_result("VALID")["error"]["code"] == "source_missing"
    scene.unharmed()


def test_a_member_is_not_served_before_others_by_the_name_of_a_claim(scene: Scene) -> None:
    scene.worker.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(scene.worker.pid), "a worker that stands still", made=scene.made)
    scene.put_in("FIRST.request", user=scene.honest)
    time.sleep(0.1)  # the kernel's clock ticks coarsely
    for name in ("A.claim.1", "B.claim.7"):
        scene.put_in(name)
    scene.worker.send_signal(signal.SIGCONT)
    assert scene.made.wait_result("A")["started_at"] > scene.made.wait_result("FIRST")["started_at"]
    scene.is_answered()
    assert (scene.spool / "B.claim.7").exists()
    assert not (scene.spool / "B.result.json").exists()


def test_a_request_that_changes_its_kind_all_the_time_breaks_nothing(scene: Scene) -> None:
    """Each look at it may see something else, also between two looks of one claim."""
    name, other = scene.spool / "STORM.request", scene.spool / "storm"

    def storm() -> None:
        until = time.monotonic() + 8
        while time.monotonic() < until:
            for make in THINGS.values():
                with suppress(OSError):
                    make(other, scene.secret)
                with suppress(OSError):
                    other.rename(name)
                    name.rename(other)
                for path in (other, name, scene.spool / "STORM.claim.1"):
                    with suppress(OSError):
                        (path / "inside").unlink()
                    with suppress(OSError):
                        path.rmdir()
                    with suppress(OSError):
                        path.unlink()
                with suppress(OSError):
                    (scene.spool / "second-name").unlink()

    storming = os.fork()
    if storming == 0:
        os._exit(scene.hostile.tries(storm))
    for _ in range(4):
        scene.is_answered()
    assert os.waitstatus_to_exitcode(os.waitpid(storming, 0)[1]) == 0
    scene.is_answered()
    scene.unharmed()


@pytest.fixture
def endless_leases() -> Iterator[None]:
    """The kernel takes a lease from who holds it after 45 s; here, not during the test."""
    setting = Path("/proc/sys/fs/lease-break-time")
    before = setting.read_text()
    setting.write_text("3600")
    yield
    setting.write_text(before)


@pytest.mark.usefixtures("endless_leases")
def test_a_request_that_its_owner_holds_by_a_lease_or_still_writes_holds_up_nobody_else(
    scene: Scene,
) -> None:
    name = scene.spool / "HELD.request"
    ready, told = os.pipe()

    def hold() -> None:
        # A lease is given on what nobody else has open.
        other_name = scene.spool / "not yet"
        descriptor = os.open(other_name, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        other_name.rename(name)
        os.write(told, b"x")
        time.sleep(600)

    # A lease is broken by a signal; its owner does not listen.
    holder = os.fork()
    if holder == 0:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        os._exit(scene.hostile.tries(hold))
    os.close(told)
    try:
        assert os.read(ready, 1) == b"x"
        for _ in range(3):
            scene.is_answered()
        assert name.exists()
        assert "spool.failing" not in scene.made.log(1).read_text()
    finally:
        os.close(ready)
        bed.run("pkill", "-9", "-P", str(holder))
        os.waitpid(holder, 0)
    assert scene.made.wait_result("HELD")["error"]["code"] == "source_missing"
    scene.unharmed()


def mount_for(user: User, place: Path, device: int) -> None:
    options = f"fd={device},rootmode=40000,user_id={user.uid},group_id={user.gid}"
    libc = ctypes.CDLL(None, use_errno=True)
    status = libc.mount(b"theirs", os.fsencode(place), b"fuse", _NOSUID_NODEV, options.encode())
    assert status == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("name", ["MOUNT.request", "SV.claim.1", "SV.claim.9"])
def test_a_file_system_of_a_users_own_in_the_spool_holds_up_nobody_else(
    scene: Scene, name: str
) -> None:
    """What fusermount(1) makes for a user is closed even to root, and nobody answers there."""
    place = scene.spool / name
    scene.worker.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(scene.worker.pid), "a worker that stands still", made=scene.made)
    scene.hostile.does(place.mkdir)
    device = os.open("/dev/fuse", os.O_RDWR)
    mount_for(scene.hostile, place, device)
    scene.worker.send_signal(signal.SIGCONT)
    try:
        with pytest.raises(PermissionError):
            place.stat()
        scene.is_answered("OTHER")
        if name != "SV.claim.1":
            scene.is_answered("SV")
    finally:
        bed.run("umount", "--lazy", place)
        os.close(device)
    scene.is_answered()


def test_a_stranger_has_no_way_in(scene: Scene) -> None:
    """Neither by himself, nor by a file of his that a member moves in."""
    for path in (scene.spool / "SV.request", scene.spool / "rejected/SV.request"):
        assert scene.stranger.tries(path.touch) in REFUSED
    shared = scene.spool.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    scene.stranger.does(lambda: (shared / "file").write_text('{"note": "let me in"}'))
    scene.hostile.does(lambda: (shared / "file").rename(scene.spool / "SV.request"))
    result = scene.made.wait_result("SV")
    assert (result["outcome"], result["submitted_by"]["user"]) == ("rejected", scene.stranger.name)
    assert f"{scene.stranger.name} ({scene.stranger.uid}) is not in" in result["error"]["message"]
    assert "let me in" not in json.dumps(result)
    assert not scene.made.mountpoint.joinpath("SV").exists()
    scene.is_answered()
