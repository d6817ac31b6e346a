"""The commands rollback and purge, for datasets that were replaced and kept."""

import sys
import time

import click

from dsgmigd.cli.acts import recorded
from dsgmigd.cli.context import Context, locked
from dsgmigd.cli.output import EXIT_WARNINGS, say, table
from dsgmigd.host.terminal import printable
from dsgmigd.names import parse_repo_name
from dsgmigd.target.layout import free_moment
from dsgmigd.target.replaced import ReplacedTargets


@click.command(name="rollback")
@click.argument("repo")
@click.option(
    "--to",
    "when",
    metavar="TIME",
    help="Restore what was replaced then.",
)
@click.pass_obj
def rollback_command(context: Context, repo: str, *, when: str | None) -> None:
    """Restore the dataset that was replaced or extended.

    The present dataset is kept in its place. No client may use it meanwhile.

    \b
    Examples:  dsgmigd rollback SV
               dsgmigd rollback SV --to 20260131T120000Z
    """
    name = parse_repo_name(repo)
    layout = context.config.settings().layout(name)
    with locked(context, name) as commands:
        replaced = ReplacedTargets(commands, layout)
        now = free_moment(time.time(), replaced.moments().__contains__)
        with recorded(context.spool(), "rollback", name, what=when) as act:
            done = replaced.bring_back(when, now)
            act.what = f"{done.brought} is {layout.target} again"
            act.what += f", {done.aside} is kept" if done.aside else ""
    place = done.mounted.mountpoint
    where = f"mounted at {printable(place)}" if place else "not mounted"
    say(f"{done.brought} is {layout.target} again, {where}")
    if done.aside:
        say(f"the dataset from before is kept as {done.aside}")
    for warning in done.mounted.warnings:
        say(f"warning: {printable(warning)}", err=True)
    if done.mounted.warnings:
        sys.exit(EXIT_WARNINGS)


@click.command(name="purge")
@click.argument("repo")
@click.argument("moments", metavar="[TIME]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every dataset that is kept for REPO.")
@click.pass_obj
def purge_command(context: Context, repo: str, moments: tuple[str, ...], *, is_all: bool) -> None:
    """List or destroy datasets that were replaced and kept.

    Without TIME or --all it lists them. A dataset without a request id of dsgmigd is never
    destroyed.

    \b
    Examples:  dsgmigd purge SV
               dsgmigd purge SV 20260131T120000Z
               dsgmigd purge SV --all
    """
    if is_all and moments:
        raise click.UsageError("name times, or give --all")
    name = parse_repo_name(repo)
    layout = context.config.settings().layout(name)
    with locked(context, name) as commands:
        replaced = ReplacedTargets(commands, layout)
        kept = replaced.moments()
        rows = [(when, replaced.used_bytes(when), layout.replaced(when)) for when in kept]
        for when in kept if is_all else moments:
            with recorded(context.spool(), "purge", name, what=layout.replaced(when)):
                replaced.destroy(when)
            say(f"{layout.replaced(when)}: destroyed")
    if not moments and not is_all:
        say(table(("TIME", "BYTES", "DATASET"), rows) if rows else f"{repo}: nothing is kept")
