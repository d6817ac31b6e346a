"""The scope of a snapshot: what a config keeps in the manifest, and configs that say nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.scope import EVERYTHING, parse_scope

PATHS = ["top", "input/a", "x/input/b", "x/c", "output/d.log", "output/skip", "output/sub/skip"]


def listed(config: str) -> list[str]:
    scope = parse_scope(config.encode())
    assert scope.warning is None
    return [path for path in PATHS if scope.lists(path.encode())]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("data_dirs: [input]", ["input/a", "x/input/b"]),
        ("data_dirs: [input, x]", ["input/a", "x/input/b", "x/c"]),
        ("data_dirs: [top]", ["top"]),
        ("data_dirs: ['*']", PATHS),
        ("data_dirs: [inp]", []),
        ("data_dirs: []", []),
        ("name: SV", [path for path in PATHS if "put" in path]),
        ("project: {data_dirs: [x]}", ["x/input/b", "x/c"]),
        ("data_dirs: ['*']\nignore: {names: [skip]}", PATHS[:5]),
        ("data_dirs: ['*']\nignore: {suffixes: [.log]}", [*PATHS[:4], *PATHS[5:]]),
        ("data_dirs: ['*']\nignore: {paths: [output/skip/, x]}", [*PATHS[:5], PATHS[6]]),
        ("data_dirs: !!set {input}", ["input/a", "x/input/b"]),
    ],
)
def test_a_config_narrows_the_manifest(config: str, expected: list[str]) -> None:
    assert listed(config) == expected


@pytest.mark.parametrize("path", [b".hidden", b"input/.x", b"input/a.pyc", b"input/\xff"])
def test_no_config_lists_what_no_manifest_lists(path: bytes) -> None:
    config = b"data_dirs: ['*', input, .hidden]\nignore: {names: [], suffixes: []}"
    assert not parse_scope(config).lists(path)
    assert not EVERYTHING.lists(path)


def test_a_link_is_listed_by_where_it_leads_too() -> None:
    assert parse_scope(b"data_dirs: [input]").lists(b"input/l", b"../top")
    assert not parse_scope(b"data_dirs: [input]").lists(b"input/l", b"/top")
    assert not parse_scope(b"data_dirs: [input]").lists(b"x/l", b"../top")


ODD = [
    *("", "[]", "text", "data_dirs: input", "data_dirs:", "data_dirs: [2014]", "data_dirs: {a: b}"),
    *("ignore: []", "ignore: {names: x}", "ignore: {paths: [[]]}", "[" * 5000, "{a: b", "\t", "\0"),
    *("a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!python/none x", "a: 2014-99-99"),
    *("? [a]\n: b", "a: &x [*x]\n*x : 1", "&x [*x]"),
]


@pytest.mark.parametrize("config", ODD)
def test_an_invalid_config_lists_everything_with_a_warning(config: str) -> None:
    scope = parse_scope(config.encode())
    assert (scope.directories, str(scope)) == (None, "all directories")
    assert scope.warning is not None
    assert scope.warning.startswith(".dsgconfig.yml is ignored: ")
    assert len(scope.warning) < 300


def test_aliases_are_not_expanded() -> None:
    """Each level of merge keys doubles what a few bytes become."""
    config = "a0: &a0 {k: v}\n"
    for level in range(1, 9):
        config += f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n"
    scope = parse_scope(config.encode())
    assert scope.directories is None
    assert "alias" in str(scope.warning)


@given(st.binary(max_size=60) | st.text("[]{}:!&*#-? \n'ab", max_size=30).map(str.encode))
def test_any_bytes_are_followed_or_ignored_with_a_warning(
    content: bytes,
) -> None:
    scope = parse_scope(content)
    assert (scope.directories is None) == (scope.warning is not None)
    assert scope.lists(b"input/a") or scope.warning is None
