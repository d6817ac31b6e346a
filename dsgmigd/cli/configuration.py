"""`dsgmigd config`: look at the configuration."""

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import errors_for_people


@click.group(name="config")
def config_command() -> None:
    """Check or show the configuration."""


@config_command.command(name="check")
@click.pass_obj
def check_command(context: Context) -> None:
    """Say whether the configuration is valid and the spool is safe; exit status 78 if not.

    \b
    Example:  dsgmigd --config /etc/dsgmigd/dsgmigd.toml config check
    """
    with errors_for_people():
        context.config.settings()
        warning = context.spool().check_place()
    click.echo("the configuration is valid")
    if warning:
        click.echo(f"warning: {warning}", err=True)


@config_command.command(name="show")
@click.pass_obj
def show_command(context: Context) -> None:
    """Print the configuration in force, defaults included, as a file that says the same.

    \b
    Example:  dsgmigd config show > /etc/dsgmigd/dsgmigd.toml
    """
    click.echo(context.config.to_toml(), nl=False)
