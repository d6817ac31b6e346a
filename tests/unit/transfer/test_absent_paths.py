"""The border: which paths are absent from staging, and how deferred ones move."""

from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.btrfs.border import Border

PATHS = st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4).map(b"/".join)


def border_of(*paths: bytes) -> Border:
    border = Border()
    for path in paths:
        border.defer(path)
    return border


def test_what_is_excluded_is_absent_with_all_below_it() -> None:
    border = Border()
    assert border.is_absent(b"HEAD")
    assert border.is_absent(b".snap/push.log")
    assert not border.is_absent(b".git/HEAD")
    assert not border.is_absent(b"")


def test_a_deferred_path_is_absent_with_all_below_it_and_nothing_beside_it() -> None:
    border = border_of(b"a/b")
    assert border.is_absent(b"a/b")
    assert border.is_absent(b"a/b/c/d")
    assert not border.is_absent(b"a/bc")
    assert not border.is_absent(b"a")


def test_a_forgotten_path_is_there_again_and_what_is_below_it_stays_deferred() -> None:
    border = border_of(b"a", b"a/b")
    border.forget(b"a")
    border.forget(b"never deferred")
    assert border.deferred == {b"a/b"}


def test_what_is_below_a_moved_directory_moves_along() -> None:
    border = border_of(b"a/x", b"a/y/z", b"ab/x", b"a")
    border.move_below(b"a", b"new/place")
    assert border.deferred == {b"new/place/x", b"new/place/y/z", b"ab/x", b"a"}


def test_what_is_below_a_directory_that_left_is_forgotten() -> None:
    border = border_of(b"a/x", b"a/y/z", b"ab/x", b"a")
    border.forget_below(b"a")
    assert border.deferred == {b"ab/x", b"a"}


@given(st.sets(PATHS, max_size=6), PATHS)
def test_a_path_is_absent_if_one_of_its_beginnings_is_deferred(
    deferred: set[bytes], path: bytes
) -> None:
    parts = path.split(b"/")
    beginnings = {b"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    assert border_of(*deferred).is_absent(path) == bool(beginnings & deferred)
