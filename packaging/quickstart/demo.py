"""Show a migration: three sample repositories, four workers, real btrfs and real ZFS in files.

`demo.py` builds everything in one private directory and leaves it there to be looked at;
`demo.py clean` removes it. The exit status is 0 only if every repository is done.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bed
from sample import build_sample

CHECKOUT = Path(__file__).resolve().parents[2]
# On the disk and not in memory; `private_directory` refuses a place that somebody else made.
DIRECTORY = Path(os.environ.get("DSGMIGD_DEMO", "/var/tmp/dsgmigd-demo")).absolute()  # noqa: S108
POOL = "dsgmigdemo"
REPOS = ("SV", "CO", "GT")
WORKERS = 4
WAIT_SECONDS = 900
STOP_SECONDS = 20


def main(arguments: list[str]) -> int:
    """Run the demo, or clean up after it."""
    if os.geteuid() != 0:
        print("the demo mounts file systems: run it as root, for example with sudo")
        return 1
    try:
        if arguments == ["clean"]:
            clean()
            return 0
        if arguments:
            print("usage: demo.py [clean]")
            return 2
        return demonstrate()
    except bed.BedError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def demonstrate() -> int:
    """Build, migrate, report."""
    if DIRECTORY.exists():
        clean()
    private_directory()
    kind = bed.ensure_zfs(DIRECTORY)
    print(f"building three sample repositories and a pool in {DIRECTORY} (ZFS: {kind})")
    loop, pool = parts()
    loop.open()
    pool.open()
    source = loop.directory / "btrsnap"
    build_sample(source, "SV", snapshots=12, files=2000, big_file_mib=64, normalised=True)
    build_sample(source, "CO", snapshots=10, files=800, big_file_mib=4, normalised=True)
    build_sample(source, "GT", snapshots=10, files=500, big_file_mib=1, normalised=False)
    spool = DIRECTORY / "spool"
    spool.mkdir()
    config = DIRECTORY / "dsgmigd.toml"
    config.write_text(config_text(spool=spool, source=source, kind=kind), encoding="utf-8")
    with workers(config) as processes:
        began = time.monotonic()
        for repo in REPOS:
            (spool / f"{repo}.request").touch()
        watch(spool, processes, began)
    results = {repo: read_result(spool, repo) for repo in REPOS}
    print_table(results)
    print_where_to_look(spool, config, results)
    return 0 if all(result.get("outcome") == "done" for result in results.values()) else 1


def parts() -> tuple[bed.BtrfsLoop, bed.FilePool]:
    """Return the two file systems of the demo, open or not."""
    return (
        bed.BtrfsLoop(DIRECTORY / "btrfs.img", DIRECTORY / "btrfs"),
        bed.FilePool(POOL, DIRECTORY / "pool.img", DIRECTORY / "zfs"),
    )


def private_directory() -> None:
    """Make the demo's directory for root alone; one that exists is refused."""
    try:
        DIRECTORY.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise bed.BedError(f"{DIRECTORY} exists and was not made by the demo") from error
    marker().touch()


def marker() -> Path:
    """Return the file that says: the demo made this directory and may remove it."""
    return DIRECTORY / ".made-by-dsgmigd-demo"


def config_text(*, spool: Path, source: Path, kind: bed.ZfsKind) -> str:
    """Return the demo's configuration; JSON's strings are TOML's basic strings."""
    losses = ["xattr", "acl", "subsecond_mtime"] if kind == "fuse" else []
    return (
        f"[spool]\ndirectory = {json.dumps(str(spool))}\n\n"
        f"[source]\nroot = {json.dumps(str(source))}\n\n"
        f"[target]\nparent = {json.dumps(POOL)}\n"
        "# What zfs-fuse cannot hold; nothing on the kernel's ZFS.\n"
        f"allow_loss = {json.dumps(losses)}\n"
    )


def command(config: Path, *arguments: str) -> tuple[str, ...]:
    """Return the command line that runs the checkout's dsgmigd."""
    return (sys.executable, "-m", "dsgmigd", "--config", str(config), *arguments)


def environment() -> dict[str, str]:
    """Return the environment in which the checkout's dsgmigd runs without being installed."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def workers(config: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the workers while the context lasts, as systemd would; stop them by SIGTERM."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for instance in range(1, WORKERS + 1):
            with log_file(instance).open("wb") as log:
                process = subprocess.Popen(
                    command(config, "run", "--instance", str(instance)),
                    cwd="/",
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            (DIRECTORY / f"worker-{instance}.pid").write_text(str(process.pid))
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def log_file(instance: int) -> Path:
    """Return where a worker's log goes."""
    return DIRECTORY / f"worker-{instance}.log"


def watch(spool: Path, processes: list[subprocess.Popen[bytes]], began: float) -> None:
    """Print one line a second until every repository has a result and no claim."""
    while time.monotonic() < began + WAIT_SECONDS:
        states = [f"{repo} {state(spool, repo)}" for repo in REPOS]
        print(f"{time.monotonic() - began:4.0f} s   {'   '.join(states)}", flush=True)
        is_done = all((spool / f"{repo}.result.json").exists() for repo in REPOS)
        # A claim goes after its result: a worker that is stopped in between leaves it.
        if is_done and not list(spool.glob("*.claim.*")):
            return
        ended = [
            number for number, process in enumerate(processes, 1) if process.poll() is not None
        ]
        if ended:
            words = log_file(ended[0]).read_text(errors="replace")[-1500:]
            print(f"worker {ended[0]} ended by itself; its log ends so:\n{words}")
            return
        time.sleep(1)
    print(f"not done within {WAIT_SECONDS} seconds")


def state(spool: Path, repo: str) -> str:
    """Say in a few words how far a repository is."""
    if (spool / f"{repo}.result.json").exists():
        return str(read_result(spool, repo).get("outcome", "?"))
    claims = [path.suffix.removeprefix(".") for path in spool.glob(f"{repo}.claim.*")]
    if not claims:
        return "waits"
    names = bed.run("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", POOL).split()
    count = sum(f"/{repo}@" in name for name in names)
    return f"worker {claims[0]}, {count} snapshots"


def read_result(spool: Path, repo: str) -> dict[str, Any]:
    """Return a repository's result; an empty one where there is none."""
    try:
        result: dict[str, Any] = json.loads((spool / f"{repo}.result.json").read_text())
    except FileNotFoundError:
        return {}
    return result


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Print one row for each repository."""
    row = "{:<6}{:<10}{:>8}{:>11}{:>9}{:>12}{:>10}"
    print("\n" + row.format("repo", "outcome", "worker", "snapshots", "files", "MiB", "seconds"))
    for repo, result in results.items():
        rows = result.get("snapshots") or []
        files, size, seconds = (
            sum(line.get(key) or 0 for line in rows) for key in ("files", "bytes", "seconds")
        )
        print(
            row.format(
                *(repo, result.get("outcome", "no result"), str(result.get("instance", "-"))),
                *(len(rows), files, f"{size / (1 << 20):.1f}", f"{seconds:.1f}"),
            )
        )
    for repo, result in results.items():
        if error := result.get("error"):
            print(f"\n{repo}: {error.get('code')}: {error.get('message')}")
            print(f"    {error.get('hint')}")


def print_where_to_look(spool: Path, config: Path, results: dict[str, dict[str, Any]]) -> None:
    """Say where everything lies."""
    print("\nlook at:")
    for repo, result in results.items():
        mountpoint = (result.get("target") or {}).get("mountpoint")
        print(f"  {mountpoint or '(no dataset)'}   {spool / f'{repo}.result.json'}")
    print(f"  zfs list -t snapshot -r {POOL}")
    print(f"  PYTHONPATH={CHECKOUT} {' '.join(command(config, 'status'))}")
    print(f"  {log_file(1).with_name('worker-*.log')}")
    print("  make demo-clean   removes all of it")


def clean() -> None:
    """Remove all that the demo made, in whatever state it is, and say what."""
    if not DIRECTORY.exists():
        print(f"nothing to clean: there is no {DIRECTORY}")
        return
    if DIRECTORY.is_symlink() or not marker().exists() or DIRECTORY.stat().st_uid != 0:
        raise bed.BedError(f"{DIRECTORY} was not made by the demo: it is left alone")
    stop_leftover_workers()
    loop, pool = parts()
    if pool.close():
        print(f"removed the pool {POOL} and its file")
    if loop.close():
        print("removed the btrfs file system and its file")
    if bed.stop_zfs(DIRECTORY):
        print("stopped the zfs-fuse that the demo had started")
    bed.unmount_below(DIRECTORY)
    shutil.rmtree(DIRECTORY)
    print(f"removed {DIRECTORY}")


def stop_leftover_workers() -> None:
    """Kill workers of a demo that was itself killed; a pid that means another program is left."""
    for pid_file in DIRECTORY.glob("worker-*.pid"):
        pid = int(pid_file.read_text() or 0)
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        if os.fsencode(DIRECTORY / "dsgmigd.toml") in arguments.split(b"\0"):
            os.killpg(pid, signal.SIGKILL)
            print(f"killed a worker that was left over (process {pid})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
