"""Real histories: source archives of successive releases, fetched once and unpacked in order.

Archives are fetched by pip as it is configured on the machine, and kept outside the checkout. Each
is known by its digest: pip refuses another one, and one in the cache that differs is fetched again.
What cannot be fetched leaves as `FetchFailed`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RELEASES = {
    "click": {
        "6.7": "f15516df478d5a56180fbf80e68f206010e6d160fc39fa508b65e035fd75130b",
        "7.0": "5b94b49521f6456670fdb30cd82a4eca9412788a93fa6dd6df72c94d5a8ff2d7",
        "7.1": "482f552f2d5452b9eeffc44165e8b790dd53f75bcce099a812b65e0357e860e2",
        "7.1.1": "8a18b4ea89d8820c5d0c7da8a64b2c324b4dabb695804dbfea19b9be9d88c0cc",
        "7.1.2": "d2b5255c7c6349bc1bd1e59e08cd12acbbd63ce649f2588755783aa94dfb6b1a",
        "8.0.0": "7d8c289ee437bcb0316820ccee14aefcb056e58d31830ecab8e47eda6540e136",
        "8.0.1": "8c04c11192119b1ef78ea049e0a6f0463e4c48ef00a30160c704337586f3ad7a",
        "8.0.2": "7027bc7bbafaab8b2c2816861d8eb372429ee3c02e193fc2f93d6c4ab9de49c5",
        "8.0.3": "410e932b050f5eed773c4cda94de75971c89cdb3155a72a0831139a79e5ecb5b",
        "8.0.4": "8458d7b1287c5fb128c90e23381cf99dcde74beaf6c7ff6384ce84d6fe090adb",
        "8.1.0": "977c213473c7665d3aa092b41ff12063227751c41d7b17165013e10069cc5cd2",
        "8.1.1": "7ab900e38149c9872376e8f9b5986ddcaf68c0f413cf73678a0bca5547e6f976",
        "8.1.2": "479707fe14d9ec9a0757618b7a100a0ae4c4e236fac5b7f80ca68028141a1a72",
        "8.1.3": "7682dc8afb30297001674575ea00d1814d808d6a36af415a82bd481d37ba7b8e",
        "8.1.4": "b97d0c74955da062a7d4ef92fadb583806a585b2ea81958a81bd72726cbb8e37",
        "8.1.5": "4be4b1af8d665c6d942909916d31a213a106800c47d0eeba73d34da3cbc11367",
    },
    "pygments": {
        "2.1": "13a0ef5fafd7b16cf995bc28fe7aab0780dab1b2fda0fc89e033709af8b8a47b",
        "2.1.1": "2df7d9a85b56e54c7c021dc98fc877bd216ead652c10da170779c004fb59c01b",
        "2.1.2": "82fc63b161043db20cba034abd43fa4cc10f73db91099355fa0d04043b4593d2",
        "2.1.3": "88e4c8a91b2af5962bfa5ea2447ec6dd357018e86e94c7d14bd8cacbc5b55d81",
        "2.2.0": "dbae1046def0efb574852fab9e90209b23f556367b5a320c0bcb871c77c3e8cc",
        "2.3.0": "82666aac15622bd7bb685a4ee7f6625dd716da3ef7473620c192c0168aae64fc",
        "2.3.1": "5ffada19f6203563680669ee7f53b64dabbeb100eb51b61996085e99c03b284a",
        "2.4.0": "31cba6ffb739f099a85e243eff8cb717089fdd3c7300767d9fc34cb8e1b065f5",
        "2.4.1": "b437bc0d04dc36f1f5b3592985b3e0a3d0af46b7c39199231706d19a4ee63344",
        "2.4.2": "881c4c157e45f30af185c1ffe8d549d48ac9127433f2c380c24b84572ad66297",
        "2.5.1": "83ec6c6133ca6b529b7ff5aa826328fd14b5bb02a58c37f4f06384e96a0f94ab",
        "2.5.2": "98c8aa5a9f778fcd1026a17361ddaf7330d1b7c62ae97c3bb0ae73e0b9b6b0fe",
        "2.6.0": "d4b5e1c585ec7e5fd4ef3e8584f9b04bdd3d9e2e87e64c2fbcada605cf1b6ca4",
        "2.6.1": "647344a061c249a3b74e230c739f434d7ea4d8b1d5f3721bc0f3558049b38f44",
        "2.7.0": "2594e8fdb06fef91552f86f4fd3a244d148ab24b66042036e64f29a291515048",
        "2.7.1": "926c3f319eda178d1bd90851e4317e6d8cdb5e292a3386aac9bd75eca29cf9c7",
    },
}
_FETCHES_AT_ONCE = 3
_FETCH_SECONDS = 120
_WORDS = 600

Write = Callable[[Path, bytes], None]


class FetchFailed(Exception):
    """An archive is neither cached nor to be had; the message is pip's."""


def archives(package: str, most: int) -> list[Path]:
    """Return the source archives of the first `most` releases of `package`, the oldest first."""
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        wanted = list(RELEASES[package].items())[:most]
        return list(pool.map(lambda release: _archive(package, *release), wanted))


def cache_directory() -> Path:
    """Return where the archives are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsgmigd-tests"


def _archive(package: str, version: str, digest: str) -> Path:
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{package}-{version}.tar.gz"
    if not kept.exists() or hashlib.sha256(kept.read_bytes()).hexdigest() != digest:
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            _fetch(f"{package}=={version} --hash=sha256:{digest}", Path(directory)).rename(kept)
    return kept


def _fetch(requirement: str, directory: Path) -> Path:
    """Let pip fetch what `requirement`, a line of a requirements file, asks for."""
    listing = directory / "requirements.txt"
    listing.write_text(requirement + "\n", encoding="ascii")
    argv = (
        *(sys.executable, "-m", "pip", "--quiet", "download"),
        *("--no-deps", "--no-binary", ":all:", "--no-build-isolation"),
        *("--retries", "1", "--timeout", "20", "--require-hashes"),
        *("--dest", str(directory / "archives"), "--requirement", str(listing)),
    )
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(f"{requirement}: {error}") from error
    if done.returncode:
        raise FetchFailed(f"{requirement}: {done.stderr.strip()[-_WORDS:]}")
    return next((directory / "archives").iterdir())


def unpack(archive: Path, tree: Path, write: Write) -> None:
    """Make `tree` what `archive` holds below its top directory, over the release before it.

    `write` puts the content of a file there, which may exist; `.snap` at the root is left alone.
    """
    with tarfile.open(archive) as opened:
        members = {path: member for member in opened if (path := _path_of(member))}
        # Directories first, then files as they come: going back in an archive unpacks it again.
        for path, member in sorted(members.items(), key=lambda item: not item[1].isdir()):
            _put(tree / path, member, opened, write)
    kept = {parent for path in members for parent in (Path(path), *Path(path).parents)}
    for directory, names, files in os.walk(tree, topdown=False):
        for name in names + files:
            entry = Path(directory, name)
            relative = entry.relative_to(tree)
            if relative not in kept and relative.parts[0] != ".snap":
                _remove(entry)
    # Times of directories last: what is written into one moves them.
    for path in sorted(members, reverse=True):
        moment = int(members[path].mtime * 10**9)
        os.utime(tree / path, ns=(moment, moment), follow_symlinks=False)


def write_in_place(path: Path, content: bytes) -> None:
    """Let a file have `content`; it keeps its inode, and is not written if it has it already."""
    if not path.exists():
        path.write_bytes(content)
        return
    with path.open("r+b") as file:
        if file.read() != content:
            file.seek(0)
            file.write(content)
            file.truncate()


def rewrite(path: Path, content: bytes) -> None:
    """Let a new file take the place of what is there, as tar does."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _path_of(member: tarfile.TarInfo) -> str:
    """Return the path below the archive's top directory; empty for that and for pax headers."""
    _, _, path = member.name.partition("/")
    if member.name.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{member.name!r} leads out of the archive")
    return path.rstrip("/")


def _put(path: Path, member: tarfile.TarInfo, opened: tarfile.TarFile, write: Write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and path.is_dir() != member.isdir()):
        _remove(path)
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    else:
        stream = opened.extractfile(member)
        write(path, stream.read() if stream else b"")
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
