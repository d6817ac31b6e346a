"""docs/architecture.md has every room with what it may import, and names only files that exist."""

import re
from pathlib import Path

import pytest

from tests.unit.test_architecture import ROOMS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
ALL_BUT = "every room but "


def imports_in_page() -> dict[str, set[str]]:
    """Return the rooms of the table, each with the rooms that it may import."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGES[0].read_text(), re.MULTILINE)
    found = {}
    for room, text in rows:
        named = set(re.findall(r"\w+", text.removeprefix(ALL_BUT))) & ROOMS.keys()
        found[room] = ROOMS.keys() - named - {room} if text.startswith(ALL_BUT) else named
    return found


def test_the_table_of_rooms_is_the_one_that_is_enforced() -> None:
    assert imports_in_page() == ROOMS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(r"`((?:dsgmigd|tests|docs|packaging|systemd|etc|bench)/[\w./@-]*)`", text)
    assert links or paths
    missing = [one for one in links if not (page.parent / one).exists()]
    missing += [one for one in paths if not (ROOT / one).exists()]
    assert missing == []
