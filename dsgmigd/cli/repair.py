"""The command repair-metadata."""

import os
import sys

import click

from dsgmigd.cli.acts import recorded
from dsgmigd.cli.context import Context, locked
from dsgmigd.cli.output import EXIT_WARNINGS, say, say_json, table
from dsgmigd.host.terminal import printable
from dsgmigd.maintenance.newest_snapshot import Newest, newest_snapshot
from dsgmigd.maintenance.repair import Difference, Repair, repair_metadata
from dsgmigd.names import RepoName, parse_repo_name

_HEADER = ("PATH", "DIFFERENCE", "HOW", "DONE")


@click.command(name="repair-metadata")
@click.argument("repo")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only list the differences.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def repair_metadata_command(
    context: Context, repo: str, *, is_dry_run: bool, is_json: bool
) -> None:
    """Restore .dsg/ from the newest snapshot.

    Changed and extra files are kept in a directory that the command names. Files outside .dsg/ are
    neither read nor changed. No client may use the dataset meanwhile; a tag that was written after
    the snapshot is removed too. Exit status of --dry-run: 3 if something differs.

    \b
    Examples:  dsgmigd repair-metadata SV --dry-run
               dsgmigd repair-metadata SV
    """
    name = parse_repo_name(repo)
    layout = context.config.settings().layout(name)
    with locked(context, name) as commands, newest_snapshot(commands, layout) as newest:
        repair = _repair(context, name, newest, is_dry_run=is_dry_run)
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
        say_json(document)
    else:
        if rows:
            say(table(_HEADER, list(rows)))
        if repair.kept:
            say(f"the files from before are kept in {printable(repair.kept)}")
        words = "differs from" if rows and is_dry_run else "is as in"
        mountpoint = printable(str(newest.target.mountpoint))
        say(f"{mountpoint}/.dsg {words} snapshot {newest.name}")
    if rows and is_dry_run:
        sys.exit(EXIT_WARNINGS)


def _repair(context: Context, name: RepoName, newest: Newest, *, is_dry_run: bool) -> Repair:
    if is_dry_run:
        return repair_metadata(newest, is_dry_run=True)
    with recorded(context.spool(), "repair-metadata", name, what=str(newest.name)) as act:
        repair = repair_metadata(newest, is_dry_run=False)
        act.outcome = "done" if repair.differences else "unchanged"
        act.what = f"{len(repair.differences)} paths as in {newest.name}"
        act.what += f"; the old ones are in {repair.kept}" if repair.kept else ""
    return repair


def _row(one: Difference, *, is_dry_run: bool) -> tuple[str, str, str, str]:
    done = {"missing": "restored", "changed": "restored", "extra": "removed, copy kept"}[one.what]
    if one.what == "changed" and one.is_kept:
        done += ", old one kept"
    return (os.fsdecode(one.path), one.what, one.detail or "-", "-" if is_dry_run else done)
