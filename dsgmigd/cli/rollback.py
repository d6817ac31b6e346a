"""The verbs for what stood in a target's place before: rollback and purge."""

import sys
import time

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.migration import locked
from dsgmigd.cli.output import EXIT_USAGE, errors_for_people, table
from dsgmigd.names import parse_repo_name
from dsgmigd.replaced import ReplacedTargets, free_moment


@click.command(name="rollback")
@click.argument("repo")
@click.option("--to", "when", metavar="TIME", help="What was moved aside then, not the last.")
@click.pass_obj
def rollback_command(context: Context, repo: str, *, when: str | None) -> None:
    """Bring back the dataset that stood in a target's place before it was replaced or extended.

    Nothing is lost: the target is moved aside in its turn. No client may use it meanwhile.

    \b
    Examples:  dsgmigd rollback SV
               dsgmigd rollback SV --to 20260131T120000Z
    """
    with errors_for_people():
        name = parse_repo_name(repo)
        places = context.config.settings().places(name)
        with locked(context, name) as commands:
            replaced = ReplacedTargets(commands, places)
            now = free_moment(time.time(), replaced.moments().__contains__)
            done = replaced.bring_back(when, now)
    click.echo(f"{done.brought} is {places.target} again, mounted at {done.mountpoint}")
    if done.aside:
        click.echo(f"what it was is kept as {done.aside}")


@click.command(name="purge")
@click.argument("repo")
@click.argument("moments", metavar="[TIME]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Everything that is kept for REPO.")
@click.pass_obj
def purge_command(context: Context, repo: str, moments: tuple[str, ...], *, is_all: bool) -> None:
    """Destroy datasets that were moved aside; without TIME or --all, list them.

    What does not carry a request id of ours is never destroyed.

    \b
    Examples:  dsgmigd purge SV
               dsgmigd purge SV 20260131T120000Z
               dsgmigd purge SV --all
    """
    if is_all and moments:
        click.echo("dsgmigd: name times, or give --all", err=True)
        sys.exit(EXIT_USAGE)
    with errors_for_people():
        name = parse_repo_name(repo)
        places = context.config.settings().places(name)
        with locked(context, name) as commands:
            replaced = ReplacedTargets(commands, places)
            kept = replaced.moments()
            rows = [(when, replaced.used_bytes(when), places.replaced(when)) for when in kept]
            for when in kept if is_all else moments:
                replaced.destroy(when)
                click.echo(f"{places.replaced(when)}: destroyed")
    if not moments and not is_all:
        click.echo(
            table(("TIME", "BYTES", "DATASET"), rows) if rows else f"{repo}: nothing is kept"
        )
