"""Names that DSG's client takes, and those that it refuses."""

import pytest

from dsgmigd.dsg.refused import is_refused


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "d/e.txt",
        "with blank",
        "ünï",
        "日本",
        "console",
        "com10",
        "a~b",
        "x" * 255,
        "\u3042" * 85,
    ],
)
def test_a_usual_name_is_taken(path: str) -> None:
    assert not is_refused(path)


@pytest.mark.parametrize(
    "name",
    [
        *("a~", "~a", " a", "a ", "a\u00a0", "a\nb", "a\tb", "a\x00", "a\x7f", "a\u0085"),
        *("con", "NUL", "Com1.txt", "lpt9.tar.gz", "aux.", "a\\con"),
        *("a?", "a*", "<a", "a>", 'a"', "a|b"),
        *("u\u0308", "a\u200b", "a\u200d", "a\u2028b", "a\ufeffb", "a\ufffcb", "a\u0378"),
        *("x" * 256, "\u3042" * 86),
    ],
)
def test_a_name_is_refused_anywhere_in_a_path(name: str) -> None:
    assert is_refused(name)
    assert is_refused(f"d/{name}")
    assert is_refused(f"{name}/f")
