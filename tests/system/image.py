"""What the machines of the system tests boot from, made once from Debian's packages and kept.

`root.img`   Debian 12 with systemd: the system disk of every machine
`linux`      the kernel of the user-mode machine, with OpenZFS in it
`emulated/`  for the emulated machine: Debian's own kernel, and a disk with OpenZFS built for that

They are kept outside the checkout, in `/var/cache/dsgmigd-vm` or what DSGMIGD_VM_CACHE names, each
in a directory named by a hash of everything that it is made from. A directory there is complete: it
is renamed into place when it is done. No machine ever writes to it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).resolve().parent / "recipe"
_CACHE = Path(os.environ.get("DSGMIGD_VM_CACHE", "/var/cache/dsgmigd-vm"))
_BUILD_SECONDS = 3600
_LAST_LINES = 40
_DISK_BYTES = 6 << 30
# What the integration tests need of Python besides the distribution's packages.
_TESTS_NEED = ("hypothesis", "orjson", "pytest")
_UNWANTED = "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service"
_HOOKS = (
    f'tar -C "{RECIPE}/root" --owner=0 --group=0 -c . | tar -C "$1" -x',
    'rm -f "$1/etc/hostname"; echo vm >"$1/etc/hostname"',
    'chroot "$1" passwd --delete root',
    'chroot "$1" systemctl enable agent.service',
    # They begin to work in the middle of a test.
    f'chroot "$1" systemctl mask {_UNWANTED}',
    # The index of manual pages takes seconds at each installation of a package.
    'rm -f "$1/var/lib/man-db/auto-update"',
)
_EMULATED_HOOKS = (
    *_HOOKS,
    f'tar -C "{RECIPE}/emulated" --owner=0 --group=0 -c . | tar -C "$1" -x',
    'chroot "$1" update-initramfs -u -k all',
    'test -n "$(find "$1/lib/modules" -name "zfs.ko*")"',
)


@dataclass(frozen=True)
class EmulatedImage:
    """What an emulated machine boots from."""

    disk: Path
    kernel: Path
    initrd: Path


def provide_root() -> Path:
    """Return the system disk of a user-mode machine; build it first if it was never built."""
    packages = _packages("packages")
    parts = [Path(__file__).read_bytes(), " ".join([*packages, *_pins()]).encode()]
    parts += _contents(RECIPE / "root")
    build = partial(_build_disk, packages=packages, hooks=_HOOKS)
    return _provide("system disk", parts, build) / "root.img"


def provide_kernel() -> Path:
    """Return the kernel of a user-mode machine; build it first if it was never built."""
    recipe = RECIPE / "kernel"
    return _provide("kernel", _contents(recipe), partial(_build_kernel, recipe)) / "linux"


def provide_emulated() -> EmulatedImage:
    """Return what an emulated machine boots from; build it first if it was never built."""
    packages = sorted({*_packages("packages"), *_packages("emulated-packages")})
    parts = [Path(__file__).read_bytes(), " ".join([*packages, *_pins()]).encode()]
    parts += [*_contents(RECIPE / "root"), *_contents(RECIPE / "emulated")]
    build = partial(
        _build_disk, packages=packages, hooks=_EMULATED_HOOKS, copied=("vmlinuz", "initrd.img")
    )
    directory = _provide("emulated machine's disk", parts, build)
    return EmulatedImage(directory / "root.img", directory / "vmlinuz", directory / "initrd.img")


def _provide(what: str, parts: list[bytes], build: Callable[[Path], None]) -> Path:
    """Return the directory of what is made from `parts`; one process builds it, others wait."""
    directory = _CACHE / hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(_CACHE / f"{directory.name}.lock"):
        if not directory.exists():
            began = time.monotonic()
            print(f"building the {what} in {directory} …", end=" ", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="building-", dir=_CACHE) as place:
                made = Path(place) / "made"
                made.mkdir()
                build(made)
                made.rename(directory)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return directory


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_disk(
    place: Path, *, packages: list[str], hooks: tuple[str, ...], copied: tuple[str, ...] = ()
) -> None:
    root = place / "root"
    # In a mount namespace of its own: when it is killed, nothing stays mounted.
    _run(
        *("unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
        *("--components=main,contrib", f"--include={','.join(packages)}"),
        # No mirror is named: mmdebstrap knows Debian's own, and apt's settings of the host hold.
        *(*(f"--customize-hook={hook}" for hook in hooks), "bookworm", str(root)),
    )
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(root / "opt/python")),
        *("--python-version=3.11", "--only-binary=:all:", *_pins()),
    )
    for name in copied:
        shutil.copyfile(root / name, place / name)
    with (place / "root.img").open("xb") as file:
        file.truncate(_DISK_BYTES)
    _run("mkfs.ext4", "-q", "-m0", "-F", "-d", str(root), str(place / "root.img"))
    shutil.rmtree(root)


def _build_kernel(recipe: Path, place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=place.parent) as directory:
        _run(str(recipe / "build"), directory)
        shutil.move(Path(directory) / "linux", place / "linux")


def _contents(directory: Path) -> list[bytes]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [str(path.relative_to(directory)).encode() + b"\0" + path.read_bytes() for path in files]


def _packages(name: str) -> list[str]:
    lines = (RECIPE / name).read_text(encoding="ascii").splitlines()
    listed = _run(str(CHECKOUT / "packaging/quickstart/install-requirements"), "list")
    return sorted({*listed.split(), *(line for line in lines if not line.startswith("#"))})


def _pins() -> list[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"]["test"]
    return [pin for pin in wanted if pin.partition("==")[0] in _TESTS_NEED]


def _run(*argv: str) -> str:
    """Run a program to its end and return what it printed; raise its last lines if it fails."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_BUILD_SECONDS,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": path},
    )
    if done.returncode:
        words = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise RuntimeError(f"{argv[0]} failed with exit status {done.returncode}:\n{words}")
    return done.stdout
