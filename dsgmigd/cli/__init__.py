"""The command line: verbs that build objects from the configuration and call them."""

from importlib import import_module

import click

from dsgmigd import __version__
from dsgmigd.cli.context import Context

# Where each verb is: a module is imported when its verb is asked for, because half a second of
# imports is long for `dsgmigd status`, and for a unit that checks its configuration first.
_MODULES = {
    "blame": "history",
    "cancel": "control",
    "config": "configuration",
    "doctor": "doctor",
    "log": "history",
    "migrate": "migration",
    "pause": "control",
    "plan": "migration",
    "purge": "replaced",
    "repair-metadata": "repair",
    "resume": "control",
    "retry": "control",
    "rollback": "replaced",
    "run": "migration",
    "status": "queue",
    "submit": "queue",
    "verify": "migration",
}


class _Verbs(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = import_module(f"dsgmigd.cli.{_MODULES[name]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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
