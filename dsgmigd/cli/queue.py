"""The commands submit and status."""

import sys
from dataclasses import dataclass
from typing import Any

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_TRY_AGAIN, EXIT_USAGE, EXIT_WARNINGS, say, say_json, table
from dsgmigd.errors import InvalidName
from dsgmigd.host.terminal import printable
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import VERIFY_LEVELS, Request, request_from_mapping
from dsgmigd.source.root import list_repositories
from dsgmigd.spool.claiming import list_deferrals
from dsgmigd.spool.control import Pauses
from dsgmigd.spool.deferral import Deferral
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request


@click.command(name="submit")
@click.argument("repos", metavar="REPO...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Submit every repository of the source.")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--verify", type=click.Choice(VERIFY_LEVELS), help="Level of verification.")
@click.option("--replace", is_flag=True, help="Build a new dataset; keep the existing one.")
@click.option("--note", help="A text to repeat in the result.")
@click.option("--migration-tag", metavar="vN", help="Add a tag for the last snapshot.")
@click.option("--rebuild-from", metavar="sK", help="Build sK and all after it again.")
@click.option("--verify-only", is_flag=True, help="Verify what is published; change nothing.")
@click.option("--without-source", is_flag=True, help="With --verify-only: by its own manifests.")
@click.pass_obj
def submit_command(
    context: Context, repos: tuple[str, ...], *, is_all: bool, **options: object
) -> None:
    """Submit requests; a running instance takes them.

    What cannot be submitted is named on stderr, and does not stop the others.

    \b
    Examples:  dsgmigd submit SV
               dsgmigd submit SV CO --limit 5
               dsgmigd submit --all
    """
    if is_all == bool(repos):
        raise click.UsageError("name repositories, or give --all")
    request = request_from_mapping({key: value for key, value in options.items() if value})
    if is_all:
        found = list_repositories(context.config.source_root)
        names, left_out = found.names, found.left_out
    else:
        names, left_out = _parse_names(repos)
    waiting = _submit(context.spool(), names, request)
    for name, reason in left_out.items():
        say(f"{printable(name)}: not submitted: {printable(reason)}", err=True)
    if left_out:
        sys.exit(EXIT_WARNINGS if is_all else EXIT_USAGE)
    if waiting and not is_all:
        sys.exit(EXIT_TRY_AGAIN)


def _parse_names(texts: tuple[str, ...]) -> tuple[list[RepoName], dict[str, str]]:
    """Return the names that are valid, and of each other one what is wrong with it."""
    names: list[RepoName] = []
    refused: dict[str, str] = {}
    for text in texts:
        try:
            names.append(parse_repo_name(text))
        except InvalidName as error:
            refused[text] = f"{error.message}; {error.hint}"
    return names, refused


def _submit(spool: Spool, names: list[RepoName], options: Request) -> bool:
    """Submit a request for each name; return whether one was waiting already."""
    done: dict[RepoName, bool] = {}
    try:
        for name in names:
            done[name] = submit_request(spool, name, options)
    finally:  # printed at the end: an output that fails must not end the rest
        for name, is_new in done.items():
            say(f"{name}: {'submitted' if is_new else 'already queued'}")
    return not all(done.values())


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
    spool.check()
    found = _look(spool)
    if is_json:
        say_json(found.to_json())
    else:
        say(found.to_text())


@dataclass(frozen=True)
class _Queue:
    """What the spool shows at one moment; `held` are the requests that wait because of a pause."""

    waiting: list[str]
    held: list[str]
    claims: list[tuple[RepoName, int]]
    retrying: list[tuple[RepoName, Deferral]]
    instances: dict[int, dict[str, Any]]
    pauses: Pauses

    def to_json(self) -> dict[str, Any]:
        return {
            "incoming": self.waiting,
            "claims": [{"repo": repo, "instance": instance} for repo, instance in self.claims],
            "deferred": [{"repo": repo, **one.to_json()} for repo, one in self.retrying],
            "instances": list(self.instances.values()),
            "paused": {
                "all": self.pauses.is_all,
                "instances": sorted(self.pauses.instances),
                "repositories": sorted(self.pauses.repositories),
                "waiting": self.held,
            },
        }

    def to_text(self) -> str:
        rows = [
            (number, status["pid"], status["status"] + _pause_mark(self.pauses, number))
            for number, status in self.instances.items()
        ]
        header = ("INSTANCE", "PID", "STATUS")
        lines = [table(header, rows) if rows else "no instance is running"]
        lines.append(f"waiting: {' '.join(map(printable, self.waiting)) or 'none'}")
        lines += [
            f"interrupted: {repo}, continues when an instance starts"
            for repo in self._interrupted()
        ]
        for repo, deferral in self.retrying:
            why = f"{deferral.error['code']}: {printable(deferral.error['message'])}"
            lines.append(f"retrying: {repo} at {deferral.not_before} ({why})")
        if self.pauses != Pauses():
            lines.append(f"paused: {_pause_words(self.pauses)}")
            lines.append(
                f"waiting because of the pause: {' '.join(map(printable, self.held)) or 'none'}"
            )
        return "\n".join(lines)

    def _interrupted(self) -> list[RepoName]:
        """Return the claims on which nobody works now: their instance does not run."""
        retrying = {repo for repo, _ in self.retrying}
        return [
            repo
            for repo, instance in self.claims
            if instance not in self.instances and repo not in retrying
        ]


def _look(spool: Spool) -> _Queue:
    waiting, pauses = spool.waiting(), spool.control.pauses()
    claims, retrying = spool.records.claims(), list_deferrals(spool)
    instances = spool.instances.read_statuses()
    held = pauses.paused_requests(waiting, set(instances))
    return _Queue(waiting, held, claims, retrying, instances, pauses)


def _pause_mark(pauses: Pauses, instance: int) -> str:
    return " (paused)" if pauses.holds_instance(instance) else ""


def _pause_words(pauses: Pauses) -> str:
    words = ["all instances"] if pauses.is_all else []
    words += [f"instance {number}" for number in sorted(pauses.instances)]
    return ", ".join(words + sorted(pauses.repositories))
