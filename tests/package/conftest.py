"""The package, built from this checkout, and Debian 12 without systemd as its first process."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = ("dpkg-buildpackage", "lintian", "mmdebstrap", "mount", "unshare")
# Programs run in it see its own /proc, and no service starts.
ENTER = """
mount -t proc proc "$1/proc"
root=$1
shift
exec chroot "$root" "$@"
"""
NO_SERVICES = "#!/bin/sh\nexit 101\n"


@dataclass
class Machine:
    """A root file system of Debian 12, in which programs run as root."""

    root: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in it; standard error comes with the output."""
        done = subprocess.run(
            (
                *("unshare", "--mount", "--pid", "--fork"),
                "sh",
                "-ec",
                ENTER,
                "sh",
                self.root,
                *arguments,
            ),
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
            | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        if check and done.returncode:
            pytest.fail(f"{arguments} gave {done.returncode}:\n{done.stdout[-3000:]}")
        return done

    def install(self, package: Path) -> str:
        """Install the package, or upgrade to it; return what dpkg said."""
        shutil.copy(package, self.root / "root")
        return self.run("dpkg", "--install", f"/root/{package.name}").stdout

    def listing(self) -> set[str]:
        """Return all files that there are, but for dpkg's own books."""
        found = self.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-print").stdout
        books = ("/root/", "/var/cache/", "/var/lib/dpkg/", "/var/log/")
        return {path for path in found.splitlines() if not path.startswith(books)}


def build(directory: Path) -> Path:
    """Build the package into a directory."""
    done = subprocess.run(
        [CHECKOUT / "packaging/build-package", directory],
        check=False,
        env=os.environ | {"TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    (package,) = directory.glob("dsgmigd_*_all.deb")
    return package


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    assert not missing, f"missing tools: {missing}"
    assert os.geteuid() == 0, "packages are installed by root"
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-package-"))
    # In memory, one gigabyte: dpkg waits for the disk after every file.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()


@pytest.fixture(scope="session")
def package(state: Path) -> Path:
    (state / "package").mkdir()
    return build(state / "package")


@pytest.fixture(scope="session")
def bare(state: Path, package: Path) -> Path:
    """Debian 12 with all that the package depends on, but without it."""
    root = state / "bare"
    subprocess.run(
        [*("mmdebstrap", "--quiet", "--variant=minbase"), "bookworm", root],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(NO_SERVICES)
    policy.chmod(0o755)
    machine = Machine(root)
    depends = subprocess.run(
        ["dpkg-deb", "--field", package, "Depends"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    apt = ("apt-get", "--quiet=2", "--yes", "--no-install-recommends")
    machine.run(*apt, "update")
    machine.run(*apt, "satisfy", depends)
    return root


@pytest.fixture
def machine(state: Path, bare: Path) -> Iterator[Machine]:
    """A machine of its own for each test, as `bare` is."""
    with overlaid(state, bare) as root:
        yield Machine(root)


@contextmanager
def overlaid(state: Path, lower: Path) -> Iterator[Path]:
    """Yield a directory that holds what `lower` does, and forgets what is written to it."""
    layer = Path(tempfile.mkdtemp(dir=state))
    layer.chmod(0o755)
    for name in ("upper", "work", "root"):
        (layer / name).mkdir()
    places = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work"
    root = layer / "root"
    subprocess.run(["mount", "-t", "overlay", "-o", places, "overlay", root], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)
        shutil.rmtree(layer)
