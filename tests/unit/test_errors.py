"""Every error has a code, a class and words; interruptions are no failures."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from dsgmigd import errors
from dsgmigd.errors import DsgmigdError, ErrorClass, Explained, Interruption


def below(kind: type[Explained]) -> Iterator[type[Explained]]:
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


KINDS = [one for one in below(Explained) if one not in {DsgmigdError, Interruption}]
# Those whose constructors take something else than a message and a hint.
MADE: dict[type[Explained], Callable[[], Explained]] = {
    errors.InterruptedByStop: errors.InterruptedByStop,
    errors.RequestCancelled: errors.RequestCancelled,
    errors.SpoolReplaced: lambda: errors.SpoolReplaced("/spool"),
    errors.CommandFailed: lambda: errors.CommandFailed(("zfs", "x"), status=7, stderr=" no \n"),
    errors.CommandTimedOut: lambda: errors.CommandTimedOut(("zfs", "x"), timeout_seconds=2.5),
}


def made(kind: type[Explained]) -> Explained:
    return MADE[kind]() if kind in MADE else kind("what happened", hint="what to do")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_says_what_happened_what_to_do_and_of_which_kind_it_is(kind: type[Explained]) -> None:
    error = made(kind)
    assert str(error) == error.message
    assert error.message
    assert error.hint
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert error.error_class in get_args(ErrorClass)


def test_no_code_stands_for_two_errors_and_none_was_forgotten() -> None:
    assert [code for code, count in Counter(kind.code for kind in KINDS).items() if count > 1] == []
    assert Explained.code not in {kind.code for kind in KINDS}


def test_what_catches_failures_lets_interruptions_pass() -> None:
    interruptions = {kind.__name__ for kind in KINDS if not issubclass(kind, DsgmigdError)}
    assert interruptions == {"InterruptedByStop", "RequestCancelled"}
    assert not issubclass(Interruption, DsgmigdError)


def test_a_cancelled_request_says_what_became_of_the_work() -> None:
    assert "is kept" in errors.RequestCancelled().hint
    assert "was destroyed" in errors.RequestCancelled(is_discarded=True).hint


@pytest.mark.parametrize(
    ("stderr", "words"), [(" no such pool\n", "no such pool"), ("", "no message")]
)
def test_a_program_that_failed_is_quoted(stderr: str, words: str) -> None:
    error = errors.CommandFailed(("zfs", "list"), status=7, stderr=stderr)
    assert error.message == f"zfs list ended with status 7: {words}"
    assert (error.argv, error.status, error.stderr) == (("zfs", "list"), 7, stderr)


def test_a_program_that_took_too_long_is_named_with_its_time() -> None:
    error = errors.CommandTimedOut(("zfs", "list"), timeout_seconds=2.5)
    assert error.message == "zfs list did not end within 2.5 seconds"
    assert error.argv == ("zfs", "list")
