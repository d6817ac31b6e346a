"""The verbs for the queue: submit and status."""

import json
import sys

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_TRY_AGAIN, EXIT_USAGE, errors_for_people, shown, table
from dsgmigd.control import Pauses
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import VERIFY_LEVELS, Request, VerifyLevel, request_from_mapping
from dsgmigd.source import list_repositories


@click.command(name="submit")
@click.argument("repos", metavar="REPO...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Submit every repository of the source.")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--verify", type=click.Choice(VERIFY_LEVELS), help="Level of verification.")
@click.option("--replace", is_flag=True, help="Build anew; keep an existing target aside.")
@click.option("--note", help="A text that the result repeats.")
@click.option("--migration-tag", metavar="vN", help="Add a tag for the last snapshot.")
@click.pass_obj
def submit_command(
    context: Context,
    repos: tuple[str, ...],
    *,
    is_all: bool,
    limit: int | None,
    verify: VerifyLevel | None,
    replace: bool,
    note: str | None,
    migration_tag: str | None,
) -> None:
    """Drop requests into the spool; a running instance takes them.

    \b
    Examples:  dsgmigd submit SV
               dsgmigd submit SV CO --limit 5
               dsgmigd submit --all
    """
    if is_all == bool(repos):
        click.echo("dsgmigd: name repositories, or give --all", err=True)
        sys.exit(EXIT_USAGE)
    given = Request(limit, verify, replace or None, note=note, migration_tag=migration_tag)
    with errors_for_people():
        options = request_from_mapping(given.to_json())
        names = list_repositories(context.config.source_root) if is_all else list(repos)
        waiting = [name for name in names if not _submit(context, parse_repo_name(name), options)]
    for name in names:
        click.echo(f"{name}: {'waits already' if name in waiting else 'submitted'}")
    if waiting and not is_all:
        sys.exit(EXIT_TRY_AGAIN)


def _submit(context: Context, name: RepoName, options: Request) -> bool:
    return context.spool().submit(name, options)


@click.command(name="status")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status_command(context: Context, *, is_json: bool) -> None:
    """Show the queue, what each instance does, and what is paused.

    \b
    Examples:  dsgmigd status
               watch -n 1 dsgmigd status
               dsgmigd status --json | jq .instances
    """
    spool = context.spool()
    with errors_for_people():
        spool.check()
        incoming, claims = spool.incoming(), spool.records.claims()
        statuses = spool.instances.read_statuses()
        deferrals = spool.deferrals()
        pauses = spool.control.pauses()
    held_back = pauses.held_back(incoming, set(statuses))
    if is_json:
        document = {
            "incoming": incoming,
            "claims": [{"repo": repo, "instance": instance} for repo, instance in claims],
            "deferred": [{"repo": repo, **one.to_json()} for repo, one in deferrals],
            "instances": list(statuses.values()),
            "paused": {
                "all": pauses.is_all,
                "instances": sorted(pauses.instances),
                "repositories": sorted(pauses.repositories),
                "waiting": held_back,
            },
        }
        click.echo(json.dumps(document, indent=1))
        return
    rows = [
        (number, status["pid"], status["status"] + _pause_mark(pauses, number))
        for number, status in statuses.items()
    ]
    click.echo(table(("INSTANCE", "PID", "STATUS"), rows) if rows else "no instance is running")
    click.echo(f"incoming: {' '.join(incoming) or 'none'}")
    for repo, deferral in deferrals:
        why = f"{deferral.error['code']}: {shown(deferral.error['message'])}"
        click.echo(f"deferred: {repo} until {deferral.not_before} ({why})")
    if pauses != Pauses():
        click.echo(f"paused: {_pause_words(pauses)}")
        click.echo(f"waiting because of that: {' '.join(held_back) or 'none'}")


def _pause_mark(pauses: Pauses, instance: int) -> str:
    return " (paused)" if pauses.holds_instance(instance) else ""


def _pause_words(pauses: Pauses) -> str:
    words = ["all instances"] if pauses.is_all else []
    words += [f"instance {number}" for number in sorted(pauses.instances)]
    return ", ".join(words + sorted(pauses.repositories))
