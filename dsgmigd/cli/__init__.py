"""The command line: each command builds its objects from the configuration and calls them.

Owns arguments, output and exit statuses. A command raises the errors of the other rooms; the group
below turns them into a message and an exit status, in one place.
Start reading here, then in `migration`. Nothing imports it but `__main__`.
"""

from importlib import import_module
from typing import Any

import click

from dsgmigd import __version__
from dsgmigd.cli.context import Context
from dsgmigd.cli.output import errors_as_exit_status, failing_output_as_exit_status

# Section, command, its module, its summary. A module is imported when its command is called: half a
# second of imports is long for `dsgmigd status`, and for a unit that checks its configuration.
_COMMANDS = (
    ("Queue", "submit", "queue", "Submit requests; a running instance takes them."),
    ("Queue", "status", "queue", "Show the queue, what each instance does, and what is paused."),
    ("Queue", "cancel", "control", "Cancel the requests for one repository, waiting or running."),
    ("Queue", "pause", "control", "Pause a repository, one instance, or all instances."),
    ("Queue", "resume", "control", "End a pause."),
    ("Queue", "retry", "control", "Resubmit the last failed or cancelled request."),
    ("Datasets", "plan", "migration", "Show what a migration would do; change nothing."),
    ("Datasets", "migrate", "migration", "Migrate one repository now, without the queue."),
    ("Datasets", "verify", "migration", "Compare a published dataset with its source."),
    ("Datasets", "rebuild", "rebuild", "Build a published dataset again; keep the existing one."),
    ("Datasets", "rollback", "rollback", "Restore the dataset that was replaced or extended."),
    ("Datasets", "purge", "rollback", "List or destroy datasets that were replaced and kept."),
    (
        "Custody",
        "custody",
        "custody",
        "Write published snapshots into bags, with their evidence.",
    ),
    ("History", "log", "history", "List the snapshots of a published dataset, newest first."),
    ("History", "blame", "history", "List the snapshots that changed one file, oldest first."),
    (
        "Maintenance",
        "doctor",
        "doctor",
        "List leftovers of interrupted requests; without --fix, change nothing.",
    ),
    (
        "Maintenance",
        "repair-metadata",
        "repair",
        "Restore .dsg/ from the newest snapshot.",
    ),
    (
        "Maintenance",
        "ledger",
        "ledger",
        "Check or show the ledger, which has a line for each act.",
    ),
    ("Service", "run", "run", "Process requests until SIGTERM, as dsgmigd@N.service does."),
    ("Service", "config", "configuration", "Check or show the configuration."),
)
_MODULES = {name: module for _, name, module, _ in _COMMANDS}


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return None
        module = import_module(f"dsgmigd.cli.{_MODULES[name]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole summaries, in sections."""
        width = max(map(len, _MODULES))
        for section in dict.fromkeys(section for section, *_ in _COMMANDS):
            rows = [(name, text) for where, name, _, text in _COMMANDS if where == section]
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def main(self, *arguments: Any, **options: Any) -> Any:
        with failing_output_as_exit_status():
            return super().main(*arguments, **options)

    # Without the inner blocks, click would end with status 1 when nobody reads its output.
    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with failing_output_as_exit_status():
            return super().make_context(*arguments, **options)

    def invoke(self, context: click.Context) -> Any:
        with errors_as_exit_status(), failing_output_as_exit_status():
            return super().invoke(context)


@click.group(
    cls=_Commands,
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
    In the foreground:   dsgmigd migrate SV
    What is going on:    dsgmigd status

    \b
    Exit status: 0 done, 1 failed, 2 usage, 3 finished with warnings, 4 source and target
    differ, 75 try again later, 77 must be run as root, 78 configuration.
    """
    context.obj = Context(config_path)
