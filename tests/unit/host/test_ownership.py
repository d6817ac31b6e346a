"""Who can exchange what is on a path."""

import errno
import stat
from pathlib import Path

import pytest

from dsgmigd.host.ownership import Component, look_at, paths_to, way_to, weakness_of

US, OTHER = 5, 6
DIRECTORY, LINK = stat.S_IFDIR, stat.S_IFLNK


@pytest.mark.parametrize(
    ("component", "may_be_sticky", "problem"),
    [
        (Component("/d", DIRECTORY | 0o755, 0), True, None),
        (Component("/d", DIRECTORY | 0o700, US), False, None),
        (Component("/d", DIRECTORY | 0o1777, 0), True, None),
        (Component("/d", DIRECTORY | 0o1777, 0), False, "is group- or world-writable"),
        (Component("/d", DIRECTORY | 0o1770, 0), False, "is group- or world-writable"),
        (Component("/d", DIRECTORY | 0o775, 0), True, "without the sticky bit"),
        (Component("/d", DIRECTORY | 0o757, 0), True, "without the sticky bit"),
        (Component("/d", DIRECTORY | 0o755, OTHER), True, "belongs to user 6"),
        (Component("/l", LINK | 0o777, 0), False, None),
        (Component("/l", LINK | 0o777, OTHER), True, "belongs to user 6"),
    ],
)
def test_a_directory_is_weak_if_others_may_change_what_is_in_it(
    component: Component, problem: str | None, *, may_be_sticky: bool
) -> None:
    weakness = weakness_of(component, US, may_be_sticky=may_be_sticky)
    assert (weakness is None) == (problem is None)
    assert weakness is None or (problem or "") in weakness.problem


@pytest.mark.parametrize(
    ("component", "fix"),
    [
        (Component("/a b", DIRECTORY | 0o755, OTHER), "chown root '/a b'"),
        (Component("/a b", LINK | 0o777, OTHER), "chown -h root '/a b'"),
        (Component("/a b", DIRECTORY | 0o777, 0), "chmod go-w '/a b'"),
    ],
)
def test_a_weakness_comes_with_the_command_that_ends_it(component: Component, fix: str) -> None:
    weakness = weakness_of(component, US)
    assert weakness is not None
    assert weakness.fix.endswith(fix)


def test_a_path_has_a_component_for_each_directory() -> None:
    assert paths_to("/a/b") == ["/", "/a", "/a/b"]
    assert paths_to("/") == ["/"]


def test_the_way_leads_through_links_to_their_targets(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/relative").symlink_to("../real/./deep")
    (tmp_path / "absolute").symlink_to(tmp_path / "links")
    *above, last = way_to(f"{tmp_path}/absolute/relative")
    assert last == look_at(str(tmp_path / "real/deep"))
    passed = [one.path for one in above if one.path.startswith(f"{tmp_path}/")]
    names = ["absolute", "links", "links/relative", "real"]
    assert passed == [f"{tmp_path}/{name}" for name in names]
    assert [one.path for one in above if one.is_link] == [
        f"{tmp_path}/{name}" for name in ("absolute", "links/relative")
    ]
    assert list(way_to("/")) == [look_at("/")]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=str(errno.ELOOP)):
        list(way_to(str(tmp_path / "a")))
