"""The command config."""

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import say
from dsgmigd.host.terminal import printable
from dsgmigd.target.area import check_namespace


@click.group(name="config")
def config_command() -> None:
    """Check or show the configuration."""


@config_command.command(name="check")
@click.pass_obj
def check_command(context: Context) -> None:
    """Check that the configuration is valid, the spool safe, and no mount would be hidden.

    The exit status is 78 if something is wrong.

    \b
    Example:  dsgmigd --config /etc/dsgmigd/dsgmigd.toml config check
    """
    context.config.settings()
    context.config.worker_settings()
    check_namespace()
    warning = context.spool().check_usable()
    say("the configuration is valid")
    if warning:
        say(f"warning: {printable(warning)}", err=True)


@config_command.command(name="show")
@click.pass_obj
def show_command(context: Context) -> None:
    """Print the configuration in force, with all defaults, as a configuration file.

    \b
    Example:  dsgmigd config show > /etc/dsgmigd/dsgmigd.toml
    """
    say(context.config.to_toml(), nl=False)
