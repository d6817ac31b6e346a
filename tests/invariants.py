"""What must hold of a spool, a source and a pool whatever happened, checked from the outside.

This shares no code with dsgmigd: it reads files, `zfs get`, and btrfs. `observe` is called before
the first request, `violations` whenever no worker is at work; both mount nothing and write nothing.

    I1  every request has exactly one result, or visibly waits
    I2  a published dataset of ours has been verified in full, and a result says so
    I3  datasets that are not ours stay what they are
    I4  the source is what it was, but for the directory of pins
    I5  never two workers at once for one repository
    I6  success in a result means: published, with hashes that follow from the manifests there
    I7  when nothing waits, nothing is left: no claim, no pin, no view, no staging
    I8  a request that is repeated finds everything up to date
    I9  each result has a line in the ledger, each line is about what was, and the chain fits
"""

import glob
import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import btrfsutil
import lz4.frame
import xxhash

PREFIX = "org.hrdag.dsgmigd:"
PINS = ".dsgmigd-pins"
SUCCESS = {"done", "up_to_date"}
LEVELS = {"structure", "changes", "complete", "exhaustive"}
# btrfs_tree.h: the root of every subvolume has this inode number.
SUBVOLUME_ROOT = 256
OUR_AREA = {"", "/staging", "/views", "/replaced"}

Tree = dict[str, tuple[object, ...]]


@dataclass(frozen=True)
class World:
    """Where everything is, and how it was before the first request."""

    spool: Path
    source_root: Path
    parent: str
    source: Tree
    foreign: dict[str, str]


@dataclass
class Asked:
    """What was asked for: how often each repository was requested; which request was repeated.

    `repeated` holds the repositories whose last request came after one that had succeeded, with
    nothing changed in between.
    """

    requests: dict[str, int] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)


def observe(spool: Path, source_root: Path, parent: str) -> World:
    """Note how the source is, and which datasets and snapshots are somebody else's."""
    return World(spool, source_root, parent, _source(source_root), _foreign(parent))


def violations(world: World, asked: Asked) -> list[str]:
    """Return every violation in words, each with the invariant's number; none is an empty list."""
    found = [
        *_of_datasets(world),
        *_changed("I3", world.foreign, _foreign(world.parent)),
        *_changed("I4", world.source, _source(world.source_root)),
        *ledger_violations(world.spool),
    ]
    for repo, count in asked.requests.items():
        results = _results(world, repo)
        found += _of_results(world, repo, results, count)
        found += _of_attempts(repo, results)
        if any(result["outcome"] in SUCCESS for result in results):
            found += _of_hashes(world, repo, results)
        found += _of_leftovers(world, repo, results)
        if repo in asked.repeated and (not results or results[-1]["outcome"] != "up_to_date"):
            found.append(f"I8 {repo}: repeated, and the result is {_outcomes(results)}")
    return found


# I1, I5: requests and results.


def _results(world: World, repo: str) -> list[dict[str, Any]]:
    """Return all results of requests for `repo`, the oldest first."""
    return [result for result in _all_results(world, repo) if "submitted_by" in result]


def _all_results(world: World, repo: str) -> list[dict[str, Any]]:
    """Return all results of requests and of commands for `repo`, the oldest first."""
    kept = world.spool / ".dsgmigd/results"
    paths = kept.glob(f"{glob.escape(repo)}.*.json")
    results = [json.loads(path.read_bytes()) for path in paths]
    results = [result for result in results if result["repo"] == repo]
    return sorted(results, key=lambda result: str(result["started_at"]))


def _waiting(world: World, repo: str) -> list[str]:
    names = (path.name for path in world.spool.iterdir())
    return [name for name in names if name.startswith((f"{repo}.request", f"{repo}.claim."))]


def _of_results(
    world: World, repo: str, results: list[dict[str, Any]], count: int
) -> Iterator[str]:
    waiting = _waiting(world, repo)
    ids = {result["request_id"] for result in results}
    answered = len(results) + len(waiting) - len(_finished(world, waiting, results))
    if answered != count:
        yield f"I1 {repo}: {count} requests, {len(results)} results, waiting: {waiting}"
    if len(ids) != len(results):
        yield f"I1 {repo}: a request has two results"
    shown = world.spool / f"{repo}.result.json"
    if results and not waiting and json.loads(shown.read_bytes()) != results[-1]:
        yield f"I1 {repo}: the result shown is not the newest"


def _finished(world: World, waiting: list[str], results: list[dict[str, Any]]) -> list[str]:
    ids = {result["request_id"] for result in results}
    return [name for name in waiting if _record(world.spool / name).get("request_id") in ids]


def _record(path: Path) -> dict[str, Any]:
    """Return the claim record in a file of the spool; a claim that was not begun has none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except ValueError:
        return {}


def _of_attempts(repo: str, results: list[dict[str, Any]]) -> Iterator[str]:
    for before, after in pairwise(results):
        if after["started_at"] < before["finished_at"]:
            yield f"I5 {repo}: {after['request_id']} began before {before['request_id']} ended"
    for result in results:
        attempts = result["attempts"]
        moments = [attempt["started_at"] for attempt in attempts]
        if moments != sorted(moments):
            yield f"I5 {repo}: attempts began in another order than they stand: {moments}"
        for attempt in attempts[:-1]:
            if attempt.get("ended") in SUCCESS:
                yield f"I5 {repo}: another attempt followed one that had succeeded"
            if _lives(attempt["pid"]):
                yield f"I5 {repo}: process {attempt['pid']} lives, and another has its work"


def _lives(pid: int) -> bool:
    """Say whether a process is one of dsgmigd's own: numbers are used again."""
    try:
        return b"dsgmigd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


# I9: the ledger.


def ledger_violations(spool: Path) -> list[str]:
    """Return what is wrong with the ledger of a spool."""
    return list(_of_ledger(spool))


def whole_lines(spool: Path) -> list[dict[str, Any]]:
    """Return what the lines of the ledger of a spool say, without what crashes left of some."""
    ledger = spool / ".dsgmigd/results/ledger.jsonl"
    return _recounted(ledger.read_bytes())[0] if ledger.exists() else []


def _of_ledger(spool: Path) -> Iterator[str]:
    kept = spool / ".dsgmigd/results"
    ledger = kept / "ledger.jsonl"
    content = ledger.read_bytes() if ledger.exists() else b""
    lines, problems = _recounted(content)
    yield from problems
    told: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        told.setdefault(str(line["request_id"]), []).append(line)
        if line["result"] is not None and line["outcome"] != "rejected":
            path = kept / line["result"]
            if not path.exists() or _sha256(path.read_bytes()) != line["result_sha256"]:
                yield f"I9 line {line['seq']}: {line['result']} is gone or another"
    for path in sorted(kept.glob("*.json")):
        result = json.loads(path.read_bytes())
        yield from _of_lines(spool, path.name, result, told.get(result["request_id"], []))


def _of_lines(
    spool: Path, name: str, result: dict[str, Any], lines: list[dict[str, Any]]
) -> Iterator[str]:
    """Judge the lines about one result; that of a claim that is left may be missing yet."""
    ended = [line for line in lines if line["result"] == name]
    if not ended:
        is_begun = any(line["outcome"] == "begun" for line in lines)
        claims = [_record(path) for path in spool.glob("*.claim.*")]
        has_claim = result["request_id"] in {claim.get("request_id") for claim in claims}
        if not is_begun and not has_claim:
            yield f"I9 {name}: no line is about it"
    elif ended[0]["outcome"] != result["outcome"]:
        yield f"I9 {name}: its line says {ended[0]['outcome']}"
    if not all(line.get("again") for line in ended[1:]):
        yield f"I9 {name}: it has {len(ended)} lines"


def _recounted(content: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of a ledger, and what is wrong with their chain."""
    lines: list[dict[str, Any]] = []
    problems: list[str] = []
    before, torn = None, b""
    for piece in content.splitlines(keepends=True):
        try:
            line = dict(json.loads(piece)) if piece.endswith(b"\n") else {}
        except ValueError:
            line = {}
        if not line:
            torn += piece
            continue
        left = torn.removesuffix(b"\n")
        if torn and line.get("torn") != {"bytes": len(left), "sha256": _sha256(left)}:
            problems.append(f"I9 line {line['seq']}: something before it is no line")
        if (line["seq"], line["before"]) != (len(lines) + 1, before):
            problems.append(f"I9 line {line['seq']}: it does not follow line {len(lines)}")
        lines.append(line)
        before, torn = _sha256(piece), b""
    return lines, [*problems, *(["I9: the ledger ends with a part of a line"] if torn else [])]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# I2, I3, I6: datasets and snapshots.


@dataclass(frozen=True)
class Thing:
    """A dataset or a snapshot; `own` are dsgmigd's properties that stand on itself."""

    native: dict[str, str]
    own: dict[str, str]


def _things(parent: str) -> dict[str, Thing]:
    """Return all that is below `parent`, itself included, in the order of creation."""
    wanted = ["type", "guid", "mounted", "mountpoint"]
    wanted += [PREFIX + key for key in ("request", "verified", "snapshot_hash")]
    output = subprocess.run(
        ("zfs", "get", "-Hp", "-r", "-o", "name,property,value,source", ",".join(wanted), parent),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    things: dict[str, Thing] = {}
    for line in output.splitlines():
        name, key, value, source = line.split("\t")
        thing = things.setdefault(name, Thing({}, {}))
        if not key.startswith(PREFIX):
            thing.native[key] = value
        elif source in {"local", "received"}:
            thing.own[key.removeprefix(PREFIX)] = value
    return things


def _foreign(parent: str) -> dict[str, str]:
    """Return the guid of all below `parent` that no request of ours has made."""
    ours = {parent, *(f"{parent}/.dsgmigd{part}" for part in OUR_AREA)}
    things = _things(parent)
    return {
        name: thing.native["guid"]
        for name, thing in things.items()
        if name not in ours and "request" not in thing.own
    }


def _snapshots(things: dict[str, Thing], dataset: str) -> dict[str, Thing]:
    """Return the snapshots s1, s2, … of a dataset by their names, in order."""
    found = {
        name.removeprefix(f"{dataset}@"): thing
        for name, thing in things.items()
        if re.fullmatch(r"s[0-9]+", name.removeprefix(f"{dataset}@"))
    }
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def _of_datasets(world: World) -> Iterator[str]:
    things = _things(world.parent)
    for name, thing in things.items():
        repo = name.removeprefix(f"{world.parent}/")
        if "request" not in thing.own or "/" in repo or "@" in repo:
            continue
        snapshots = _snapshots(things, name)
        if not snapshots:
            yield f"I2 {repo}: published without a snapshot"
        for snapshot, made in snapshots.items():
            if (made.own.get("verified") or "").partition(" ")[0] not in LEVELS:
                yield f"I2 {repo}@{snapshot}: published, not verified"
        told = [result["target"].get("dataset") for result in _succeeded(world, repo)]
        if name not in told and not _waiting(world, repo):
            yield f"I2 {repo}: published, and no result says so"


def _succeeded(world: World, repo: str) -> list[dict[str, Any]]:
    return [result for result in _all_results(world, repo) if result["outcome"] in SUCCESS]


def _of_hashes(world: World, repo: str, results: list[dict[str, Any]]) -> Iterator[str]:
    dataset = f"{world.parent}/{repo}"
    things = _things(world.parent)
    if dataset not in things or things[dataset].native["mounted"] != "yes":
        yield f"I6 {repo}: success, and {dataset} is not there or not mounted"
        return
    snapshots = _snapshots(things, dataset)
    stamped = {name: made.own.get("snapshot_hash") for name, made in snapshots.items()}
    computed = _chain(Path(things[dataset].native["mountpoint"]) / ".dsg", list(snapshots))
    yield from _changed(f"I6 {repo}", computed, stamped)
    succeeded = [result for result in results if result["outcome"] in SUCCESS]
    rows = [row for result in succeeded for row in result["snapshots"] if row["method"]]
    for row in rows:
        if stamped.get(row["name"]) != row["snapshot_hash"]:
            yield f"I6 {repo}@{row['name']}: its result tells another hash than its property"


def _chain(dsg: Path, names: list[str]) -> dict[str, str]:
    """Compute the hash of every snapshot from the manifests; an unreadable one has none."""
    chain: dict[str, str] = {}
    before = ""
    messages = json.loads((dsg / "sync-messages.json").read_bytes())["snapshots"]
    for name in names:
        archived = dsg / f"archive/{name}-sync.json.lz4"
        if name == names[-1]:
            content = (dsg / "last-sync.json").read_bytes()
        else:
            content = lz4.frame.decompress(archived.read_bytes())
        manifest = json.loads(content)
        compact = [
            json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()
            for entry in manifest["entries"].values()
        ]
        entries_hash = xxhash.xxh3_64_hexdigest(b"".join(compact))
        words = entries_hash + manifest["metadata"]["snapshot_message"] + before
        before = xxhash.xxh3_64_hexdigest(words.encode())
        agreed = manifest["metadata"] == messages[name]
        agreed = agreed and manifest["metadata"]["snapshot_id"] == name
        chain[name] = before if agreed else "its manifest and sync-messages.json differ"
    return chain


# I4: the source.


def _source(root: Path) -> Tree:
    """Return what everything below `root` is; a change in a subvolume moves its ctransid."""
    btrfsutil.sync(str(root))
    tree: Tree = {}
    for directory, directories, files in os.walk(root):
        if Path(directory) == root and PINS in directories:
            directories.remove(PINS)
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            tree[os.path.relpath(path, root)] = _state(path)
    return tree


def _state(path: str) -> tuple[object, ...]:
    status = os.lstat(path)
    state = (
        *(status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_gid),
        *(status.st_size, status.st_mtime_ns, status.st_ctime_ns),
    )
    if not stat.S_ISDIR(status.st_mode) or status.st_ino != SUBVOLUME_ROOT:
        return state
    info = btrfsutil.subvolume_info(path)
    return (*state, info.uuid.hex(), info.ctransid, btrfsutil.get_subvolume_read_only(path))


# I7: what is left.


def _of_leftovers(world: World, repo: str, results: list[dict[str, Any]]) -> Iterator[str]:
    waiting = _waiting(world, repo)
    for name in _finished(world, waiting, results):
        yield f"I7 {repo}: {name} is left, and it has its result"
    if any(".claim." in name for name in waiting):
        return  # its work goes on with what is there
    area = world.source_root / PINS
    # Each spool has a directory of its own there; earlier versions had none.
    for path in sorted((*area.glob("*"), *area.glob("*/*"))):
        if path.name.startswith(f"{repo}."):
            yield f"I7 {repo}: the pins {path.name} are left"
    things = _things(world.parent)
    for part in ("staging", "views"):
        if f"{world.parent}/.dsgmigd/{part}/{repo}" in things:
            yield f"I7 {repo}: its dataset in {part} is left"
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    if re.search(
        rf"/\.dsgmigd/views/{re.escape(repo)}(:\d+)? .* {re.escape(world.parent)}\S*@", mounts
    ):
        yield f"I7 {repo}: a snapshot is left mounted as its view"


def _outcomes(results: Iterable[dict[str, Any]]) -> str:
    return ", ".join(result["outcome"] for result in results) or "none"


def _changed(what: str, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return how two states differ, one line for each key."""
    return [
        f"{what} {key}: was {before.get(key, 'not there')}, is {now.get(key, 'not there')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
