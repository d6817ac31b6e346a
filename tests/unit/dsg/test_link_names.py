"""The names of files that have several: which belong together, wherever they are moved."""

from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.link_names import LinkNames

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join).map(str.encode)


def paths_of(names: LinkNames, inode: int) -> list[bytes]:
    return sorted(link.path for link in names.names_of(inode))


def test_a_name_knows_its_path_wherever_its_directory_is_moved() -> None:
    names = LinkNames()
    names.join(b"d/e/a", 7)
    names.join(b"b", 7)
    names.rename(b"d", b"x/y")
    assert paths_of(names, 7) == [b"b", b"x/y/e/a"]
    assert names.find(b"d/e/a") is None


def test_what_is_removed_is_returned_with_all_that_is_below_it() -> None:
    names = LinkNames()
    for path, inode in ((b"d/a", 7), (b"d/e/b", 8), (b"c", 7)):
        names.join(path, inode)
    assert sorted(link.path for link in names.remove(b"d")) == [b"d/a", b"d/e/b"]
    assert (paths_of(names, 7), paths_of(names, 8)) == ([b"c"], [])
    assert names.remove(b"d") == names.remove(b"x/y") == []


def test_a_name_of_another_file_leaves_its_old_group() -> None:
    names = LinkNames()
    for path, inode in ((b"a", 7), (b"b", 7), (b"a", 8)):
        names.join(path, inode)
    assert (paths_of(names, 7), paths_of(names, 8)) == ([b"b"], [b"a"])


@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "remove", "rename"]), PATHS, PATHS, st.integers(0, 2)),
        max_size=20,
    )
)
def test_groups_are_those_of_a_dictionary(steps: list[tuple[str, bytes, bytes, int]]) -> None:
    names = LinkNames()
    inodes: dict[bytes, int] = {}
    for action, path, other, inode in steps:
        below = [one for one in inodes if (one + b"/").startswith(path + b"/")]
        if action == "join" and not any(
            one != path and ((one + b"/").startswith(path + b"/") or path.startswith(one + b"/"))
            for one in inodes
        ):
            names.join(path, inode)
            inodes[path] = inode
        elif action == "remove":
            assert sorted(link.inode for link in names.remove(path)) == sorted(
                inodes.pop(one) for one in below
            )
        elif action == "rename" and not (other + b"/").startswith(path + b"/"):
            is_free = not any(
                (one + b"/").startswith(other + b"/") or other.startswith(one + b"/")
                for one in inodes
            )
            if is_free:
                names.rename(path, other)
                inodes |= {other + one[len(path) :]: inodes.pop(one) for one in below}
        for number in range(3):
            assert paths_of(names, number) == sorted(
                one for one, found in inodes.items() if found == number
            )
