"""Lists of names and values, with a library that keeps them in dictionaries."""

import errno

import pytest

from dsgmigd.target.nvlist import NvLists, check
from tests.unit.fake_libraries import FakeNvpair


def test_a_list_has_what_it_was_made_of_and_is_freed() -> None:
    library = FakeNvpair()
    lists = NvLists(library)
    with (
        lists.of_names(["zsd/a@s1", "zsd/ä@s1"]) as names,
        lists.of_texts({"key": "text"}) as texts,
        lists.of_array("argv", ["a", "b"]) as array,
    ):
        made = [library.lists[one.value or 0] for one in (names, texts, array)]
        assert made == [
            {"zsd/a@s1": True, "zsd/ä@s1": True},
            {"key": "text"},
            {"argv": ["a", "b"]},
        ]
    assert library.lists == {}


def test_a_number_is_read_from_an_answer_and_the_answer_is_freed() -> None:
    library = FakeNvpair()
    lists = NvLists(library)
    with lists.answer() as answer:
        assert lists.number(answer, "return") is None, "the library gave none"
        answer.value = library.make({"return": 28})
        assert lists.number(answer, "return") == 28
        assert lists.number(answer, "error") is None
    assert library.lists == {}


@pytest.mark.parametrize("refused", ["add_boolean", "add_string", "add_string_array"])
def test_a_list_for_which_there_is_no_memory_is_freed(refused: str) -> None:
    library = FakeNvpair()
    library.refuses = refused
    lists = NvLists(library)
    made = {
        "add_boolean": lambda: lists.of_names(["a"]),
        "add_string": lambda: lists.of_texts({"a": "b"}),
        "add_string_array": lambda: lists.of_array("a", ["b"]),
    }
    with pytest.raises(OSError, match="Cannot allocate memory"), made[refused]():
        pass
    assert library.lists == {}


def test_only_an_error_is_raised() -> None:
    check(0)
    with pytest.raises(OSError, match="No space left") as caught:
        check(errno.ENOSPC)
    assert caught.value.errno == errno.ENOSPC
