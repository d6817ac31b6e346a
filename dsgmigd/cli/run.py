"""The command run: one instance, as systemd starts it."""

import click

from dsgmigd.cli.context import Context
from dsgmigd.service.journal import configure_logging
from dsgmigd.service.notify import Notifier
from dsgmigd.service.worker import Worker
from dsgmigd.target.area import check_namespace
from dsgmigd.target.native import find_native


@click.command(name="run")
@click.option(
    "--instance", type=click.IntRange(1, 999), required=True, help="Number of this instance."
)
@click.pass_obj
def run_command(context: Context, *, instance: int) -> None:
    """Process requests until SIGTERM, as dsgmigd@N.service does.

    \b
    Example:  dsgmigd run --instance 1
    """
    config = context.config
    configure_logging(instance=instance)
    check_namespace()
    worker_settings = config.worker_settings()
    Worker(
        *(instance, context.spool(instance), config.settings(), worker_settings, Notifier()),
        find_native=find_native,
    ).run()
