"""The command that replaces a published dataset, although it was made from its source."""

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.migration import differences_option, work
from dsgmigd.migration.migration import Migration
from dsgmigd.request import Request, request_from_mapping


@click.command(name="rebuild")
@click.argument("repo")
@click.option(
    "--from",
    "first",
    metavar="sK",
    default="s1",
    show_default=True,
    help="Keep the snapshots before sK; they have to be verified.",
)
@differences_option
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def rebuild_command(
    context: Context, repo: str, *, first: str, differences: str | None, is_json: bool
) -> None:
    """Build a published dataset again; keep the existing one.

    It is verified like any other before it is published. What was there before is kept, see
    dsgmigd purge.

    \b
    Examples:  dsgmigd rebuild SV
               dsgmigd rebuild SV --from s7
    """
    request: Request = request_from_mapping({"rebuild_from": first})
    work(
        *(context, Migration, repo, request, Migration.run),
        act="rebuild",
        differences=differences,
        is_json=is_json,
    )
