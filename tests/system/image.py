"""The virtual machine's disk: Debian 12 with OpenZFS built for its kernel, made once and kept.

It is kept outside the checkout, in `/var/cache/dsgmigd-vm` or what DSGMIGD_VM_CACHE names, in a
directory named by a hash of everything that it is made from. What is in there is complete: it is
renamed into place when it is done.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).resolve().parent / "recipe"
_MIRROR = os.environ.get("DSGMIGD_VM_MIRROR", "http://deb.debian.org/debian")
_CACHE = os.environ.get("DSGMIGD_VM_CACHE", "/var/cache/dsgmigd-vm")
_BUILD_SECONDS = 3600
_DISK_BYTES = 6 << 30
# What the integration tests need of Python besides the distribution's packages.
_TESTS_NEED = ("hypothesis", "orjson", "pytest")
_UNWANTED = "apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service"
_HOOKS = (
    f'tar -C "{RECIPE}/files" --owner=0 --group=0 -c . | tar -C "$1" -x',
    'rm -f "$1/etc/hostname"; echo vm >"$1/etc/hostname"',
    'chroot "$1" passwd --delete root',
    'chroot "$1" systemctl enable agent.service',
    # They begin to work in the middle of a test.
    f'chroot "$1" systemctl mask {_UNWANTED}',
    'chroot "$1" update-initramfs -u -k all',
    # The root file system is the one in /etc/fstab: "rw" on the command line mounts it.
    'test -n "$(find "$1/lib/modules" -name "zfs.ko*")"',
)


@dataclass(frozen=True)
class Image:
    """What a machine boots from; nothing of it is ever written."""

    disk: Path
    kernel: Path
    initrd: Path


def provide_image() -> Image:
    """Return the image of this checkout's recipe; build it first if it was never built."""
    directory = Path(_CACHE) / _recipe_hash()
    if not directory.exists():
        print(f"building the virtual machine's disk: {directory}", file=sys.stderr)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=directory.parent) as place:
            made = Path(place) / "image"
            made.mkdir()
            _build(made)
            made.rename(directory)
    return Image(directory / "root.img", directory / "vmlinuz", directory / "initrd.img")


def _build(place: Path) -> None:
    root = place / "root"
    # In a mount namespace of its own: when it is killed, nothing stays mounted.
    hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
    _run(
        *("unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
        *("--components=main,contrib", f"--include={','.join(_packages())}"),
        *(*hooks, "bookworm", str(root), _MIRROR),
    )
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(root / "opt/python")),
        *("--python-version=3.11", "--only-binary=:all:", *_pins()),
    )
    for name in ("vmlinuz", "initrd.img"):
        shutil.copyfile(root / name, place / name)
    with (place / "root.img").open("xb") as file:
        file.truncate(_DISK_BYTES)
    # Neither the checks at mount nor a journal of its own: the image is read, not written.
    _run("mkfs.ext4", "-q", "-m0", "-F", "-d", str(root), str(place / "root.img"))
    shutil.rmtree(root)


def _recipe_hash() -> str:
    files = sorted(path for path in RECIPE.rglob("*") if path.is_file())
    parts = [Path(__file__).read_bytes(), " ".join([*_packages(), *_pins()]).encode()]
    parts += [str(path.relative_to(RECIPE)).encode() + b"\0" + path.read_bytes() for path in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _packages() -> list[str]:
    lines = (RECIPE / "packages").read_text(encoding="ascii").splitlines()
    listed = _run(str(CHECKOUT / "packaging/quickstart/install-requirements"), "list")
    return sorted({*listed.split(), *(line for line in lines if not line.startswith("#"))})


def _pins() -> list[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"]["test"]
    return [pin for pin in wanted if pin.partition("==")[0] in _TESTS_NEED]


def _run(*argv: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        argv,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_BUILD_SECONDS,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": path},
    )
    return done.stdout
