"""systemd/dsgmigd.catalog explains every event that the code logs, and no other."""

import ast
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dsgmigd.service.journal_record import field_name, message_id

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "systemd" / "dsgmigd.catalog"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
# journald's own, and those that are bound once for all records of an instance or a request.
EVERYWHERE = {"MESSAGE_ID", *map(field_name, ("instance", "repo", "request_id"))}


@functools.cache
def entries() -> dict[str, tuple[str, str]]:
    """Return the number and the text of every entry, by the event in the comment before it."""
    found = {}
    for entry in re.split(r"\n(?=# [a-z_]+\.[a-z_]+\n)", CATALOG.read_text())[1:]:
        comment, mark, text = entry.split("\n", 2)
        found[comment.removeprefix("# ")] = (mark.removeprefix("-- "), text)
    return found


@functools.cache
def logged() -> dict[str, set[str]]:
    """Return every event that the code logs, with the keys that its records may have."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "dsgmigd").rglob("*.py")):
        module = ast.parse(path.read_bytes())
        dictionaries = [node for node in ast.walk(module) if isinstance(node, ast.Dict)]
        for event, keys in calls(module, path):
            fields = keys - {""}
            if "" in keys:  # **fields: they stand in a dictionary of the same module
                fields |= {key for one in dictionaries for key in texts(one.keys)}
            found.setdefault(event, set()).update(fields)
        for one in dictionaries:
            for key, value in zip(one.keys, one.values, strict=True):
                if texts([key]) == {"event"} and isinstance(value, ast.Constant):
                    found.setdefault(str(value.value), set()).update(texts(one.keys))
    return found


def calls(module: ast.Module, path: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the event and the keywords of every call of a logger; "" stands for `**fields`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            if node.func.attr in LEVELS and receiver.endswith(("log", "get_logger()")):
                place = f"{path.name}:{node.lineno}"
                event = node.args[0] if node.args else None
                assert isinstance(event, ast.Constant), f"{place}: an event's name is a constant"
                yield str(event.value), {keyword.arg or "" for keyword in node.keywords}


def texts(nodes: Sequence[ast.expr | None]) -> set[str]:
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def test_the_search_finds_events() -> None:
    assert {"request.claimed", "process.crashed", "journal.dropped"} <= logged().keys()
    assert "error_code" in logged()["request.failed"]


@pytest.mark.parametrize("event", sorted(logged()))
def test_every_event_has_an_entry_of_its_number(event: str) -> None:
    number, _ = entries().get(event, ("", ""))
    assert number == message_id(event), (
        f"write an entry for {event} in {CATALOG.name}; it begins with:\n"
        f"# {event}\n-- {message_id(event)}\nSubject: …"
    )


def test_no_entry_stands_twice() -> None:
    """systemd would show one of them, and nobody knows which."""
    numbers = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)
    assert len(numbers) == len(set(numbers)) == len(entries())


def test_no_entry_is_of_an_event_that_is_gone() -> None:
    assert sorted(entries().keys() - logged().keys()) == []


@pytest.mark.parametrize("event", sorted(entries()))
def test_an_entry_quotes_only_fields_that_its_records_have(event: str) -> None:
    _, text = entries()[event]
    quoted = set(re.findall(r"@([A-Z_]+)@", text))
    assert quoted - EVERYWHERE <= set(map(field_name, logged().get(event, ())))


@pytest.mark.parametrize("event", sorted(entries()))
def test_an_entry_has_a_head_and_says_something(event: str) -> None:
    head, _, body = entries()[event][1].partition("\n\n")
    assert [line.split(":")[0] for line in head.splitlines()] == [
        *("Subject", "Defined-By", "Documentation")
    ]
    assert len(body.split()) >= 10


def test_systemd_reads_every_entry(tmp_path: Path) -> None:
    if not shutil.which("journalctl"):
        if os.environ.get("CI"):
            pytest.fail("journalctl is missing")
        pytest.skip("journalctl is missing")
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    shutil.copy(CATALOG, place)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    journalctl = ("journalctl", f"--root={tmp_path}")

    subprocess.run([*journalctl, "--update-catalog"], check=True, timeout=60)
    listed = subprocess.run(
        [*journalctl, "--list-catalog"], check=True, capture_output=True, text=True, timeout=60
    )

    numbers = [line.split()[0] for line in listed.stdout.splitlines()]
    assert sorted(numbers) == sorted(number for number, _ in entries().values())
