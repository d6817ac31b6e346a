"""The names that the samples hold."""

import os
import unicodedata

from sample import UNKIND_NAMES


def test_names_hold_what_tools_stumble_over() -> None:
    assert any("\n" in name for name in UNKIND_NAMES)
    assert any(" " in name for name in UNKIND_NAMES)
    assert any(name.startswith(".") for name in UNKIND_NAMES)
    assert any(name.startswith("-") for name in UNKIND_NAMES)
    assert any(name.isprintable() and not name.isascii() for name in UNKIND_NAMES)


def test_one_name_is_not_utf_8_and_the_others_are_composed() -> None:
    undecodable = [name for name in UNKIND_NAMES if b"\xe9" in os.fsencode(name)]
    assert undecodable == [os.fsdecode(b"latin-\xe9.txt")]
    others = [name for name in UNKIND_NAMES if name not in undecodable]
    assert all(unicodedata.is_normalized("NFC", name) for name in others)
