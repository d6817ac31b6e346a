"""The command line: verbs that build objects from the configuration and call them."""

import click

from dsgmigd import __version__
from dsgmigd.cli.configuration import config_group
from dsgmigd.cli.context import Context
from dsgmigd.cli.control import cancel_command, pause_command, resume_command, retry_command
from dsgmigd.cli.doctor import doctor_command
from dsgmigd.cli.history import blame_command, log_command
from dsgmigd.cli.migration import migrate_command, plan_command, run_command, verify_command
from dsgmigd.cli.queue import status_command, submit_command
from dsgmigd.cli.repair import repair_command
from dsgmigd.cli.replaced import purge_command, rollback_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    help="Configuration file.  [default: $DSGMIGD_CONFIG, then /etc/dsgmigd/dsgmigd.toml]",
)
@click.version_option(__version__, prog_name="dsgmigd")
@click.pass_context
def main(context: click.Context, config_path: str | None) -> None:
    """Carry versioned repositories from btrfs to ZFS with their whole history.

    \b
    Through the queue:   touch SPOOL/SV.request, or: dsgmigd submit SV
    At once, by hand:    dsgmigd migrate SV
    What is going on:    dsgmigd status

    \b
    Exit status: 0 done, 1 failed, 2 usage, 3 finished with warnings, 4 source and target
    differ, 75 try again later, 78 configuration.
    """
    context.obj = Context(config_path)


for command in (
    run_command,
    submit_command,
    migrate_command,
    status_command,
    cancel_command,
    pause_command,
    resume_command,
    retry_command,
    verify_command,
    plan_command,
    log_command,
    blame_command,
    repair_command,
    rollback_command,
    purge_command,
    doctor_command,
    config_group,
):
    main.add_command(command)
