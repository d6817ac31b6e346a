"""A worker of which a system call fails, once or from then on: what does it make of that?

strace lets the kernel answer the N-th call of a kind by an error, to whichever thread comes to N.
What is called how often is observed in a run that nobody disturbs. Whatever fails, the worker ends
the request by an error of ours, or by a success that is one: then DSG's documents in the target
are, byte for byte, what they are when nothing fails. Or it waits, when a spool that fails keeps it
from saying anything. It leaves no traceback, the source as it was, and what the next worker, to
which nothing happens, brings to the end. One line of JSON for each point says what was found.

The errors are those that the kernel gives for such a call. EINTR comes once only: Python repeats
what was interrupted, and would do so for ever.

Left out, because their failing says nothing of a file system, or of a host that is short of
something: futex, munmap, mprotect, rt_sig*, clock_nanosleep, wait4 and kill; close, after which the
descriptor is gone either way; dup and fcntl, which make nothing; `execve` and all that the programs
call which a worker starts.

tests/amounts.py says how large a sample is tried. With DSGMIGD_FAILING_CALLS=kinds, of the calls on
one subject (`openat` of one file, say) the first fails once, and the last with all after it; with
`all`, which takes half a day, every call fails once, and every call from each on.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import bed
import pytest

from tests.amounts import amount
from tests.integration.conftest import Bed, write_config
from tests.integration.sweep import Case, Sweep, in_turns
from tests.integration.trees import (
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)
from tests.invariants import SUCCESS, Asked, violations

WANTED = amount("DSGMIGD_FAILING_CALLS")
COMPARED_EVERY = 6
# The instance whose calls fail; the other goes on.
FAULTY, OTHER = 1, 2
# A worker that does not end the request by then waits for its spool to be well again.
PATIENCE_SECONDS = 60
# A published dataset is one, even if it is not mounted or pins could not be deleted.
TOLD = ("is published, but not mounted", "pins could not be deleted")
# Who waits tries again in a new thread, to which the same happens.
SAID_ENOUGH = 2
WAITING = (b"spool.failing", b"result.waiting", b"host.exhausted")

NAMING = ("EIO", "ENOSPC", "EROFS", "EDQUOT", "ENOMEM")
WRITING = ("ENOSPC", "EIO", "EDQUOT", "EINTR", "EROFS")
LOOKING = ("EIO", "ENOMEM")
OPENING = ("EMFILE", "EIO", "ENFILE", "ENOMEM", "EINTR", "EROFS", "ENOSPC")
ERRORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("openat", "openat2"), OPENING),
    **dict.fromkeys(("read", "pread64"), ("EIO", "EINTR", "ENOMEM")),
    **dict.fromkeys(("write", "pwrite64", "ftruncate", "fallocate"), WRITING),
    **dict.fromkeys(("fsync", "fdatasync"), ("EIO", "ENOSPC", "EDQUOT")),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat", "symlinkat"), NAMING),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknodat"), NAMING),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat"), NAMING),
    **dict.fromkeys(("utimensat", "setxattr", "lsetxattr", "removexattr", "mknod"), NAMING),
    **dict.fromkeys(("getxattr", "lgetxattr", "listxattr", "llistxattr"), LOOKING),
    **dict.fromkeys(("newfstatat", "statx", "fstat", "getdents64", "lseek"), LOOKING),
    **dict.fromkeys(("readlink", "readlinkat", "statfs", "fstatfs", "access"), LOOKING),
    "ioctl": ("EIO", "ENOSPC", "EROFS", "ENOMEM", "EINTR"),
    "copy_file_range": ("EIO", "ENOSPC"),
    "flock": ("ENOLCK", "EINTR"),
    **dict.fromkeys(("vfork", "clone3", "clone"), ("EAGAIN", "ENOMEM")),
    **dict.fromkeys(("pipe2", "memfd_create", "socket", "epoll_create1"), ("EMFILE", "ENFILE")),
}


@dataclass(frozen=True)
class Point:
    """The `when`-th `call` of a thread gives `error`; from then on, if it is persistent."""

    call: str
    when: int
    error: str
    is_persistent: bool


@dataclass
class Found:
    """What came of one point; `code` is that of the error in the result."""

    call: str
    when: int
    error: str
    is_persistent: bool
    is_injected: bool = False
    at: str = ""
    outcome: str = ""
    code: str = ""
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    outcome_afterwards: str = ""


def points(made: dict[str, list[set[str]]]) -> Iterator[Point]:
    """Yield calls that fail once and calls that fail from then on, with errors by turns."""
    for call, is_persistent in product(made, (False, True)):
        errors = [one for one in ERRORS[call] if not (is_persistent and one == "EINTR")]
        for when in wanted(made[call], is_persistent=is_persistent):
            yield Point(call, when, errors[when % len(errors)], is_persistent)


def wanted(subjects: list[set[str]], *, is_persistent: bool) -> list[int]:
    """Return which times, from 1, are to be tried of a call that is made on `subjects`."""
    numbered = list(enumerate(subjects, start=1))
    if WANTED == "all":
        return [when for when, _ in numbered]
    # The last one met counts: that is the first of all, or the last.
    order = numbered if is_persistent else reversed(numbered)
    return sorted({subject: when for when, some in order for subject in some}.values())


def documents(made: Bed) -> dict[str, bytes]:
    """Return what the published dataset says of itself."""
    directory = made.mountpoint / "SV/.dsg"
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def tracebacks(log: str) -> list[str]:
    """Return where each traceback ended, and the error."""
    found = []
    for one in log.split("Traceback (most recent call last)")[1:]:
        places = re.findall(r'/(dsgmigd/[\w/]+\.py)", line (\d+), in (\w+)', one)
        errors = re.findall(r"^\s*(\w[\w.]*(?:Error|Exception).*)$", one, re.MULTILINE)
        found.append(f"{':'.join(places[-1]) if places else '?'} {errors[0] if errors else '?'}")
    return found


def try_point(
    sweep: Sweep, point: Point, expected: dict[str, bytes], *, is_compared: bool
) -> Found:
    """Let a call fail, let another worker go on without, and return what there is."""
    made = sweep.made
    sweep.start_over()
    found = Found(**asdict(point))
    log_before = made.log(FAULTY).stat().st_size
    when = f"{point.when}+" if point.is_persistent else f"{point.when}"
    worker = sweep.start(
        FAULTY, f"trace={point.call}", f"inject={point.call}:error={point.error}:when={when}"
    )
    made.drop("SV", sweep.request)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while worker.poll() is None and not sweep.is_done():
        told = made.log(FAULTY).read_bytes()[log_before:]
        if sum(map(told.count, WAITING)) >= SAID_ENOUGH or time.monotonic() > deadline:
            found.outcome = "waits"
            break
        time.sleep(0.02)
    sweep.stop()
    log = sweep.log.read_text(errors="replace")
    found.is_injected = "(INJECTED)" in log
    found.at = next((line for line in log.splitlines() if "(INJECTED)" in line), "")[:200]
    found.tracebacks = tracebacks(made.log(FAULTY).read_text(errors="replace")[log_before:])
    judge(sweep, found, expected)
    if found.outcome not in SUCCESS or is_told(found):
        go_on(sweep, found, expected)
    if is_compared and not found.violations:
        assert_migrated(made, "SV", sweep.series.directory, sweep.series.count)
    return found


def judge(sweep: Sweep, found: Found, expected: dict[str, bytes]) -> None:
    """Note what the worker reported, and what is wrong with it."""
    made = sweep.made
    if sweep.is_done():
        result = made.wait_result("SV")
        error = result["error"] or {}
        found.outcome, found.code = result["outcome"], error.get("code", "")
        found.reason, found.warnings = error.get("message", "")[:300], result["warnings"]
    found.outcome = found.outcome or "crashed"
    if found.outcome in SUCCESS:
        if not is_told(found):
            found.violations += violations(sweep.world, Asked({"SV": 1}))
            found.violations += other_documents(made, expected)
    else:
        # What it left may be published, and its result cannot be written yet.
        found.violations += [
            one for one in violations(sweep.world, Asked()) if "no result says so" not in one
        ]
    found.violations += sweep.lost()


def is_told(found: Found) -> bool:
    """Say whether a success warns of what the next request has to make good."""
    return any(told in warning for told in TOLD for warning in found.warnings)


def go_on(sweep: Sweep, found: Found, expected: dict[str, bytes]) -> None:
    """Let another worker, to which nothing happens, end the work."""
    made = sweep.made
    sweep.start(OTHER)
    if sweep.is_done():
        made.drop("SV", sweep.request)
    result = made.wait_result("SV")
    if result["instance"] == FAULTY:  # it could not be shown, and is now
        made.drop("SV", sweep.request)
        result = made.wait_result("SV")
    sweep.stop()
    found.outcome_afterwards = result["outcome"]
    if result["outcome"] not in SUCCESS:
        found.violations.append(f"afterwards: {result['error']}")
        return
    found.violations += violations(sweep.world, Asked({"SV": number_of_results(made)}))
    found.violations += other_documents(made, expected) + sweep.lost()


def number_of_results(made: Bed) -> int:
    """Return how many results of requests there are; that of a command has no submitter."""
    kept = (made.spool / ".dsgmigd/results").glob("SV.*.json")
    return sum("submitted_by" in json.loads(path.read_bytes()) for path in kept)


def other_documents(made: Bed, expected: dict[str, bytes]) -> list[str]:
    found = documents(made)
    return [
        f"{name} is not what it is when nothing fails"
        for name in sorted(expected.keys() | found.keys())
        if found.get(name) != expected.get(name)
    ]


CASES: dict[str, tuple[Case, str]] = {
    "create": ("create", "auto"),
    "extend": ("extend", "auto"),
    "rsync": ("create", "rsync"),
}


@pytest.fixture(params=CASES)
def sweep(fresh_bed: Bed, tmp_path: Path, request: pytest.FixtureRequest) -> Sweep:
    """A normalised series of three, with an original that is another, and a tag."""
    case, engine = CASES[request.param]
    write_config(fresh_bed, source=f"engine = {json.dumps(engine)}")
    new_series(fresh_bed, "SV", writing(original="of s1"))
    series = new_series(
        fresh_bed,
        "SV-norm",
        all_of(
            writing(a="a", b="b", d__c="c"),
            lambda tree: (tree / "link").symlink_to("d/c"),
            lambda tree: write(tree / "d/large", b"x" * 300_000),
        ),
        all_of(moving("a", "d/a"), linking("b", "d/b"), writing(d__c="changed")),
        all_of(
            removing("b"),
            writing(e="e", f__g="g"),
            lambda tree: bed.run("chown", "1:1", tree / "d/a"),
        ),
    )
    (series.directory / "v1").symlink_to("s2")
    return Sweep(fresh_bed, series, case, tmp_path / "strace.log")


@pytest.mark.sweep
def test_whatever_call_fails_the_worker_says_so_or_does_it_again(
    sweep: Sweep, tmp_path: Path
) -> None:
    every = list(points(sweep.observe_calls(ERRORS)))
    expected = documents(sweep.made)
    chosen = in_turns(every, "failing calls")
    if WANTED not in {"all", "kinds"}:
        chosen = chosen[: int(WANTED)]
    report = tmp_path / "failing-calls.jsonl"
    all_found = []
    for number, point in enumerate(chosen):
        found = try_point(sweep, point, expected, is_compared=number % COMPARED_EVERY == 0)
        all_found.append(found)
        with report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    outcomes = Counter(found.code or found.outcome for found in all_found)
    print(f"{len(chosen)} of {len(every)} points, {dict(outcomes)}: {report}")  # noqa: T201
    assert [found for found in all_found if found.tracebacks or found.violations] == []
    assert {found.outcome for found in all_found} <= {"failed", "waits", *SUCCESS}
    injected = sum(found.is_injected for found in all_found)
    assert injected >= int(len(chosen) * 0.7), "too few of the points were reached"
