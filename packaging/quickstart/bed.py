"""File-backed btrfs and ZFS for the demo and the integration tests.

Owns loop mounts, pools made of one file, and the zfs-fuse daemon that it started itself. Every
`close` is idempotent and works from another process than the one that opened, so that a cleaner
can run later. A pool is destroyed only if it lives in the file that was named. What fails leaves
as `BedError`.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from dsgmigd.target.zfs_fuse import mounting

ZfsKind = Literal["kernel", "fuse"]

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# zfs-fuse answers an unknown option with pages of usage.
_STDERR_CHARACTERS = 600
_BUSY_TRIES = 200
_BUSY_SECONDS = 0.05
_DAEMON_SECONDS = 10.0
_DAEMON_STARTS = 3
_LOOP_MAJOR = 7
# Others may take the next free loop device at the same moment.
_SPARE_LOOP_NODES = 8
_PID_FILE = "zfs-fuse.pid"
_DAEMON_OPTIONS = ("-m", "512", "--no-kstat-mount")
# zfs-fuse ignores setuid=off and devices=off: these are for all that it mounts.
_MOUNT_OPTIONS = ("-o", "nosuid,nodev")


class BedError(Exception):
    """A bed cannot be made or taken away; the message is for the person who asked for it."""


def run(*argv: str | Path, timeout_seconds: float = 300) -> str:
    """Run a program to its end and return what it printed."""
    environment = {"LC_ALL": "C.UTF-8", "PATH": _SEARCH_PATH}
    try:
        with mounting() if argv[0] in {"zfs", "zpool"} else nullcontext():
            done = subprocess.run(
                argv,
                check=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                env=environment,
                text=True,
                errors="surrogateescape",
                timeout=timeout_seconds,
            )
    except subprocess.CalledProcessError as error:
        words = str(error.stderr).strip()[:_STDERR_CHARACTERS]
        raise BedError(f"{' '.join(map(str, argv))}: {words or error.returncode}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{' '.join(map(str, argv))}: {error}") from error
    return done.stdout


def run_when_free(*argv: str | Path) -> None:
    """Run a program, and again while it says busy: unmounting and destroying do for a moment."""
    for _ in range(_BUSY_TRIES - 1):
        try:
            run(*argv)
        except BedError as error:
            if "busy" not in str(error):
                raise
            time.sleep(_BUSY_SECONDS)
        else:
            return
    run(*argv)


def destroy(*arguments: str) -> None:
    """`zfs destroy`: zfs-fuse lets go of a dataset a moment after its last user has ended."""
    run_when_free("zfs", "destroy", *arguments)


def zfs_kind() -> ZfsKind:
    """Say which ZFS the programs `zfs` and `zpool` talk to on this host."""
    return "kernel" if os.path.exists("/dev/zfs") else "fuse"


def ensure_zfs(state_directory: Path, mount_options: tuple[str, ...] = _MOUNT_OPTIONS) -> ZfsKind:
    """Make `zpool` answer: by the kernel's ZFS, a daemon that runs, or a zfs-fuse started here.

    The pid file of a daemon that was started here stays in `state_directory`, which is how
    `stop_zfs` knows it. `mount_options` are given to that daemon.
    """
    kind = zfs_kind()
    if _zpool_answers():
        return kind
    if kind == "kernel":
        raise BedError("/dev/zfs is there but `zpool list` fails: is zfsutils-linux installed?")
    if not os.path.exists("/dev/fuse"):
        raise BedError("no ZFS here: neither /dev/zfs nor /dev/fuse exists")
    program = shutil.which("zfs-fuse", path=_SEARCH_PATH)
    if not program:
        raise BedError("no ZFS here: install zfs-fuse, or load the kernel's ZFS module")
    # Without it zfs-fuse ends at once and says nothing.
    os.makedirs("/run/lock", exist_ok=True)
    for _ in range(_DAEMON_STARTS):
        words = _start_daemon(program, state_directory, mount_options)
        if words is None:
            return kind
    raise BedError(f"zfs-fuse does not answer: {words}")


def _start_daemon(
    program: str, state_directory: Path, mount_options: tuple[str, ...]
) -> str | None:
    """Start zfs-fuse; None once it answers, else its words.

    It ends at once, and silently, while a daemon that was told to end still does so.
    """
    log = state_directory / "zfs-fuse.log"
    # A log file and not a pipe: the daemon keeps its descriptors, and a pipe would never end.
    with log.open("wb") as output:
        subprocess.run(
            (program, *_DAEMON_OPTIONS, *mount_options, "-p", state_directory / _PID_FILE),
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _DAEMON_SECONDS
    while not _zpool_answers():
        if time.monotonic() > deadline:
            return log.read_text(errors="replace")[:_STDERR_CHARACTERS]
        time.sleep(0.1)
    return None


def stop_zfs(state_directory: Path) -> bool:
    """Stop the zfs-fuse that `ensure_zfs` started; leave it while any pool is imported."""
    pid_file = state_directory / _PID_FILE
    try:
        pid = int(pid_file.read_text())
        program = Path(f"/proc/{pid}/comm").read_text()
    except (OSError, ValueError):
        pid_file.unlink(missing_ok=True)
        return False
    if program.strip() != "zfs-fuse":
        pid_file.unlink()
        return False
    if run("zpool", "list", "-H", "-o", "name").split() not in ([], ["no", "pools", "available"]):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DAEMON_SECONDS
    while os.path.exists(f"/proc/{pid}"):
        if time.monotonic() > deadline:
            raise BedError(f"zfs-fuse (process {pid}) does not end after SIGTERM")
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)
    return True


class _Opened(ABC):
    """What is open while a context lasts; a failed opening is taken back."""

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def close(self) -> bool: ...

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class BtrfsLoop(_Opened):
    """A btrfs file system in a sparse file, mounted at `directory` while the context lasts."""

    def __init__(self, image: Path, directory: Path, *, size_mib: int = 2048) -> None:
        self.image = image
        self.directory = directory
        self.size_mib = size_mib

    def open(self) -> None:
        """Make the file system and mount it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _make_sparse_file(self.image, self.size_mib)
        run("mkfs.btrfs", "--quiet", self.image)
        _provide_loop_nodes()
        run("mount", "-t", "btrfs", "-o", "loop,noatime", self.image, self.directory)

    def close(self) -> bool:
        """Unmount it with all that is mounted below, remove the file; say whether it was there."""
        was_there = unmount_below(self.directory) > 0 or self.image.exists()
        self.image.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.directory.rmdir()
        return was_there


class FilePool(_Opened):
    """A pool in a sparse file, with the properties that dsgmigd wants on the target's parent."""

    def __init__(self, name: str, image: Path, mountpoint: Path, *, size_mib: int = 2048) -> None:
        self.name = name
        self.image = image
        self.mountpoint = mountpoint
        self.size_mib = size_mib

    def open(self) -> None:
        """Make the pool; it is in no cache file, so nothing imports it after a reboot."""
        if self.exists():
            raise BedError(f"a pool called {self.name} exists already")
        properties = ["compression=on", "atime=off"]
        if zfs_kind() == "kernel":
            properties += ["xattr=sa", "acltype=posixacl"]
        options = [word for text in properties for word in ("-O", text)]
        _make_sparse_file(self.image, self.size_mib)
        run(
            *("zpool", "create", "-o", "cachefile=none", *options),
            *("-m", self.mountpoint, self.name, self.image),
        )

    def exists(self) -> bool:
        """Say whether a pool of this name is imported."""
        return self.name in run("zpool", "list", "-H", "-o", "name").splitlines()

    def close(self) -> bool:
        """Destroy the pool and remove its file; say whether there was one."""
        was_there = self.image.exists()
        if _zpool_answers() and self.exists():
            if str(self.image) not in run("zpool", "status", self.name):
                raise BedError(f"pool {self.name} is not in {self.image}: it is left alone")
            run_when_free("zpool", "destroy", self.name)
            was_there = True
        self.image.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.mountpoint.rmdir()
        return was_there


@contextmanager
def snapshot_view(dataset: str, snapshot: str, directory: Path) -> Iterator[Path]:
    """Make a ZFS snapshot readable at `directory`.

    zfs-fuse has no `.zfs` directory and cannot mount a snapshot: there it is a clone.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = f"{dataset}@{snapshot}"
    clone = f"{dataset.partition('/')[0]}/view-{secrets.token_hex(4)}"
    if zfs_kind() == "kernel":
        run("mount", "-t", "zfs", source, directory)
    else:
        run("zfs", "clone", "-o", "readonly=on", "-o", f"mountpoint={directory}", source, clone)
    try:
        yield directory
    finally:
        if zfs_kind() == "kernel":
            unmount_below(directory)
        else:
            destroy(clone)
        with suppress(FileNotFoundError):
            directory.rmdir()


def unmount_below(directory: Path) -> int:
    """Unmount all that is mounted at or below `directory`, the deepest first; return how many."""
    mounted = _mounts_below(directory)
    for path in reversed(mounted):
        run_when_free("umount", path)
    return len(mounted)


def _mounts_below(directory: Path) -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    # proc(5): the fifth field is the mount point, blanks and the like as octal escapes.
    fields = (line.split(" ")[4].encode(errors="surrogateescape") for line in lines)
    paths = (
        Path(os.fsdecode(field.decode("unicode_escape").encode("latin-1"))) for field in fields
    )
    return [path for path in paths if path == directory or directory in path.parents]


def _make_sparse_file(path: Path, size_mib: int) -> None:
    with path.open("xb") as file:
        file.truncate(size_mib << 20)


def _provide_loop_nodes() -> None:
    """Make the nodes of the next free loop devices: a container's /dev does not grow by itself."""
    free = Path(run("losetup", "--find").strip())
    first = int(free.name.removeprefix("loop"))
    for number in range(first, first + _SPARE_LOOP_NODES):
        with suppress(FileExistsError):
            os.mknod(
                free.with_name(f"loop{number}"),
                stat.S_IFBLK | 0o660,
                os.makedev(_LOOP_MAJOR, number),
            )


def _zpool_answers() -> bool:
    try:
        run("zpool", "list", timeout_seconds=30)
    except BedError:
        return False
    return True
