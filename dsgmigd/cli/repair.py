"""The verb that puts a dataset's live metadata back as its newest snapshot has it."""

import json
import os
import sys

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.migration import locked
from dsgmigd.cli.output import EXIT_WARNINGS, errors_for_people, shown, table
from dsgmigd.names import parse_repo_name
from dsgmigd.newest import newest_snapshot
from dsgmigd.repair import Difference, repair_metadata

_HEADER = ("PATH", "DIFFERENCE", "HOW", "DONE")


@click.command(name="repair-metadata")
@click.argument("repo")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what differs.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def repair_metadata_command(
    context: Context, repo: str, *, is_dry_run: bool, is_json: bool
) -> None:
    """Put the live .dsg/ of a published dataset back as it is in the newest snapshot sK.

    Nothing is lost: what was changed or too much is kept in a directory that is named. No other
    file is looked at or touched. No client may work on the dataset meanwhile; a tag that was
    written after the snapshot is taken back too. Exit status of --dry-run: 3 if something differs.

    \b
    Examples:  dsgmigd repair-metadata SV --dry-run
               dsgmigd repair-metadata SV
    """
    with errors_for_people():
        name = parse_repo_name(repo)
        places = context.config.settings().places(name)
        with locked(context, name) as commands, newest_snapshot(commands, places) as newest:
            repair = repair_metadata(newest, is_dry_run=is_dry_run)
    rows = [_row(one, is_dry_run=is_dry_run) for one in repair.differences]
    if is_json:
        keys = ("path", "difference", "how", "done")
        document = {
            "repo": repo,
            "dataset": newest.target.name,
            "snapshot": str(newest.name),
            "is_dry_run": is_dry_run,
            "differences": [dict(zip(keys, row, strict=True)) for row in rows],
            "kept": repair.kept,
        }
        click.echo(json.dumps(document, indent=1))
    else:
        if rows:
            click.echo(table(_HEADER, [tuple(map(shown, row)) for row in rows]))
        if repair.kept:
            click.echo(f"what was there before is kept in {repair.kept}")
        words = "differs from" if rows and is_dry_run else "is as in"
        click.echo(f"{newest.target.mountpoint}/.dsg {words} snapshot {newest.name}")
    if rows and is_dry_run:
        sys.exit(EXIT_WARNINGS)


def _row(one: Difference, *, is_dry_run: bool) -> tuple[str, str, str, str]:
    done = {"missing": "restored", "changed": "restored", "extra": "moved aside"}[one.what]
    if one.what == "changed" and one.is_kept:
        done += ", old one kept"
    return (os.fsdecode(one.path), one.what, one.detail or "-", "-" if is_dry_run else done)
