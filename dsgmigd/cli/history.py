"""The verbs that tell what a dataset's own metadata says of its past."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.migration import locked
from dsgmigd.cli.output import errors_for_people, shown, table
from dsgmigd.history import History
from dsgmigd.names import parse_repo_name
from dsgmigd.newest import newest_snapshot

_WHOSE = {"snapshot": "SNAPSHOT", "created_at": "WHEN", "created_by": "WHO"}
_COUNTS = ("added", "modified", "renamed", "deleted")


@click.command(name="log")
@click.argument("repo")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def log_command(context: Context, repo: str, *, is_json: bool) -> None:
    """List the snapshots of a published dataset, the newest first: who, when, why, how much.

    It is read from the dataset's own metadata; the source may be gone.

    \b
    Examples:  dsgmigd log SV
               dsgmigd log SV --json | jq '.snapshots[] | select(.deleted > 0)'
    """
    with _history(context, repo) as history:
        rows = history.log()
    if is_json:
        click.echo(json.dumps({"repo": repo, "snapshots": rows}, indent=1))
        return
    header = (*_WHOSE.values(), *(key.upper() for key in _COUNTS), "MESSAGE")
    keys = (*_WHOSE, *_COUNTS, "message")
    click.echo(table(header, [tuple(_cell(row[key]) for key in keys) for row in rows]))


@click.command(name="blame")
@click.argument("repo")
@click.argument("path")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def blame_command(context: Context, repo: str, path: str, *, is_json: bool) -> None:
    """List which snapshots changed one file or link, the oldest first.

    PATH is relative to the dataset's root. What stands or stood there is followed through its
    renames: a snapshot renamed it if the same content came under a new path when the old one went.
    It is read from the dataset's own metadata; the source may be gone.

    \b
    Examples:  dsgmigd blame SV data/list.csv
               dsgmigd blame SV data/list.csv --json
    """
    with _history(context, repo) as history:
        events = history.blame(path)
    if is_json:
        click.echo(json.dumps({"repo": repo, "path": path, "events": events}, indent=1))
        return
    rows = [
        (*(_cell(event[key]) for key in _WHOSE), _what(event), _cell(event["message"]))
        for event in events
    ]
    click.echo(table((*_WHOSE.values(), "WHAT", "MESSAGE"), rows))


@contextlib.contextmanager
def _history(context: Context, repo: str) -> Iterator[History]:
    with errors_for_people():
        name = parse_repo_name(repo)
        places = context.config.settings().places(name)
        with locked(context, name) as commands, newest_snapshot(commands, places) as newest:
            yield History(newest.root, newest.name.number)


def _what(event: dict[str, Any]) -> str:
    if event["path_before"] is None:
        return f"{event['what']} {shown(event['path'])}"
    return f"{event['what']} {shown(event['path_before'])} to {shown(event['path'])}"


def _cell(value: object) -> str:
    return "-" if value is None else shown(str(value))
