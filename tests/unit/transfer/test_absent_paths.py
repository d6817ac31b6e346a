"""Which paths are absent from staging, and how deferred ones are renamed."""

from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.transfer.absent_paths import AbsentPaths

PATHS = st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4).map(b"/".join)


def absent_below(*paths: bytes) -> AbsentPaths:
    absent = AbsentPaths()
    for path in paths:
        absent.defer(path)
    return absent


def test_what_is_excluded_is_absent_with_all_below_it() -> None:
    absent = AbsentPaths()
    assert absent.is_absent(b"HEAD")
    assert absent.is_absent(b".snap/push.log")
    assert not absent.is_absent(b".git/HEAD")
    assert not absent.is_absent(b"")


def test_a_deferred_path_is_absent_with_all_below_it_and_its_neighbours_are_not() -> None:
    absent = absent_below(b"a/b")
    assert absent.is_absent(b"a/b")
    assert absent.is_absent(b"a/b/c/d")
    assert not absent.is_absent(b"a/bc")
    assert not absent.is_absent(b"a")


def test_a_forgotten_path_is_there_again_and_what_is_below_it_stays_deferred() -> None:
    absent = absent_below(b"a", b"a/b")
    absent.forget(b"a")
    absent.forget(b"never deferred")
    assert absent.deferred == {b"a/b"}


def test_what_is_below_a_moved_directory_moves_along() -> None:
    absent = absent_below(b"a/x", b"a/y/z", b"ab/x", b"a")
    absent.move_below(b"a", b"new/place")
    assert absent.deferred == {b"new/place/x", b"new/place/y/z", b"ab/x", b"a"}


def test_what_is_below_a_directory_that_became_excluded_is_forgotten() -> None:
    absent = absent_below(b"a/x", b"a/y/z", b"ab/x", b"a")
    absent.forget_below(b"a")
    assert absent.deferred == {b"ab/x", b"a"}


@given(st.sets(PATHS, max_size=6), PATHS)
def test_a_path_is_absent_if_one_of_its_beginnings_is_deferred(
    deferred: set[bytes], path: bytes
) -> None:
    parts = path.split(b"/")
    beginnings = {b"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    assert absent_below(*deferred).is_absent(path) == bool(beginnings & deferred)
