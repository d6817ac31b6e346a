"""Random bodies of requests: each is a request, or parsing raises InvalidRequest.

tests/amounts.py says how many there are.
"""

import json
import resource
import stat
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from dsgmigd.errors import InvalidRequest
from dsgmigd.host.locks import try_lock
from dsgmigd.names import RepoName
from dsgmigd.request import BODY_LIMIT_BYTES, LOSSES, VERIFY_LEVELS, Request, parse_request
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import RECORD_MODE, new_record, own_record
from tests.amounts import amount

CASES = int(amount("DSGMIGD_REQUESTS"))
GROWTH_LIMIT_KIB = 32 * 1024
SV = RepoName("SV")
MESSAGE_LIMIT = 1000
KEYS = ("limit", "verify", "replace", "allow_loss", "note", "migration_tag")
VALUES = (
    *(b"5", b"0", b"true", b"null", b'"complete"', b'["xattr"]', b'"v1.0"', b'"a note"', b"{}"),
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"1.0", b"9" * 19, b"7" * 4300, b"8" * 4301),
    *(b'"\\ud800"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"\xff"', b"\xef\xbb\xbf", b"\x00"),
    *(b'"' + b"n" * 1000 + b'"', b'"' + b"n" * 1001 + b'"', b'"\xf0\x9f\x92\xbe"', b"[1,"),
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def valid(random: Random) -> bytes:
    """Return a body that is right."""
    document: dict[str, object] = {
        "limit": random.randrange(1, 100),
        "verify": random.choice(VERIFY_LEVELS),
        "replace": random.random() < 0.5,
        "allow_loss": random.sample(LOSSES, random.randrange(len(LOSSES))),
        "note": random.choice(("", "ä\n", "note \N{FLOPPY DISK}")),
        "migration_tag": "v1.2.3-x",
    }
    keys = random.sample(KEYS, random.randrange(len(KEYS) + 1))
    return json.dumps({key: document[key] for key in keys}).encode()


def of_pairs(random: Random) -> bytes:
    """Return an object of our keys, some of them twice, with any values."""
    pairs = []
    for _ in range(random.randrange(1, 4)):
        key = random.choice((*KEYS, "limt", "x" * random.choice((1, 60_000))))
        pairs.append(b'"%b":%b' % (key.encode(), random.choice(VALUES)))
    return b"{" + b",".join(pairs) + b"}"


def deep(random: Random) -> bytes:
    """Return an object in which something is nested more or less as deep as Python can go."""
    value = nested(random.choice((2, 300, random.randrange(800, 1000), 30_000)))
    return b'{"%b":%b}' % (random.choice(KEYS).encode(), value)


def noise(random: Random) -> bytes:
    return random.randbytes(random.randrange(40))


def too_long(random: Random) -> bytes:
    return b" " * (BODY_LIMIT_BYTES - 1) + random.choice((b"", b"{", b"{}", b"{} "))


def mutated(random: Random) -> bytes:
    """Return a right body with some things done to its bytes."""
    body = bytearray(random.choice((valid, of_pairs))(random))
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(body) + 1)
        end = min(len(body), start + random.randrange(4))
        body[start:end] = random.choice(
            (b"", random.randbytes(1), random.choice(VALUES), bytes(body[end:]), b'"', b"{")
        )
    return bytes(body)


KINDS = (*(mutated,) * 12, *(valid,) * 3, *(of_pairs,) * 3, noise)


def fuzzed(number: int) -> bytes:
    """Return the body of a number, always the same."""
    random = Random(number)  # noqa: S311
    if number % 100 == 0:
        return random.choice((deep, too_long))(random)
    return random.choice(KINDS)(random)


class Judge:
    """Has one body parsed, recorded and read again, in every way that a claim has it."""

    def __init__(self, path: Path) -> None:
        path.touch(RECORD_MODE)
        self._status = path.stat()
        assert stat.S_IMODE(self._status.st_mode) == RECORD_MODE
        lock = try_lock(str(path))
        assert lock is not None
        self._claim = Claim(SV, str(path), lock, new_record(SV, b"", self._status))

    def judge(self, body: bytes) -> str:
        """Return what came of it: `request` or `refused`."""
        record = new_record(SV, body, self._status)
        assert own_record(SV, json.dumps(record.to_json()).encode(), self._status) == record
        assert own_record(SV, body, self._status) is None, "not a record of ours"
        self._claim.record = record
        try:
            request = parse_request(body)
        except InvalidRequest:
            with pytest.raises(InvalidRequest) as refused:
                _ = self._claim.options
            assert len(refused.value.message) < MESSAGE_LIMIT
            return "refused"
        assert self._claim.options == request
        assert parse_request(json.dumps(request.to_json()).encode()) == request
        return "request"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "claim")


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_right_body_is_a_request(judge: Judge) -> None:
    assert {judge.judge(valid(Random(number))) for number in range(100)} == {"request"}  # noqa: S311
    assert parse_request(b"{}") == Request()


@pytest.mark.sweep
def test_any_body_is_a_request_or_refused_and_takes_no_memory(judge: Judge) -> None:
    outcomes: Counter[str] = Counter()
    before = 0
    for number in range(CASES):
        body = fuzzed(number)
        try:
            outcomes[judge.judge(body)] += 1
        except BaseException as error:
            error.add_note(f"this was fuzzed({number})")
            raise
        if number == CASES // 10:
            before = peak_kib()
    assert peak_kib() - before < GROWTH_LIMIT_KIB
    assert min(outcomes["request"], outcomes["refused"]) * 10 > CASES, outcomes
