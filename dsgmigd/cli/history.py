"""The commands log and blame, which read a dataset's own metadata."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from dsgmigd.cli.context import Context, locked
from dsgmigd.cli.output import say, say_json, table
from dsgmigd.host.terminal import printable
from dsgmigd.maintenance.history import History
from dsgmigd.maintenance.newest_snapshot import newest_snapshot
from dsgmigd.names import parse_repo_name

_WHOSE = {"snapshot": "SNAPSHOT", "created_at": "WHEN", "created_by": "WHO"}
_COUNTS = ("added", "modified", "renamed", "deleted")


@click.command(name="log")
@click.argument("repo")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def log_command(context: Context, repo: str, *, is_json: bool) -> None:
    """List the snapshots of a published dataset, newest first.

    It shows who, when, why and how much, from the dataset's own metadata; no source is needed.

    \b
    Examples:  dsgmigd log SV
               dsgmigd log SV --json | jq '.snapshots[] | select(.deleted > 0)'
    """
    with _history(context, repo) as history:
        rows = history.log()
    if is_json:
        say_json({"repo": repo, "snapshots": rows})
        return
    header = (*_WHOSE.values(), *(key.upper() for key in _COUNTS), "MESSAGE")
    keys = (*_WHOSE, *_COUNTS, "message")
    say(table(header, [tuple(_cell(row[key]) for key in keys) for row in rows]))


@click.command(name="blame")
@click.argument("repo")
@click.argument("path")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def blame_command(context: Context, repo: str, path: str, *, is_json: bool) -> None:
    """List the snapshots that changed one file, oldest first.

    PATH is relative to the dataset's root, of a file or a link that exists or was deleted. Renames
    are followed: a file was renamed if its content appeared under a new path in the snapshot in
    which the old path disappeared. Read from the dataset's own metadata; no source is needed.

    \b
    Examples:  dsgmigd blame SV data/list.csv
               dsgmigd blame SV data/list.csv --json
    """
    with _history(context, repo) as history:
        events = history.blame(path)
    if is_json:
        say_json({"repo": repo, "path": path, "events": events})
        return
    rows = [
        (*(_cell(event[key]) for key in _WHOSE), _what(event), _cell(event["message"]))
        for event in events
    ]
    say(table((*_WHOSE.values(), "WHAT", "MESSAGE"), rows))


@contextlib.contextmanager
def _history(context: Context, repo: str) -> Iterator[History]:
    name = parse_repo_name(repo)
    layout = context.config.settings().layout(name)
    with locked(context, name) as commands, newest_snapshot(commands, layout) as newest:
        yield History(newest.root, newest.name.number)


def _what(event: dict[str, Any]) -> str:
    if event["path_before"] is None:
        return f"{event['what']} {printable(event['path'])}"
    return f"{event['what']} {printable(event['path_before'])} to {printable(event['path'])}"


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))
