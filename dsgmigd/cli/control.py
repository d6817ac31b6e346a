"""The verbs by which operators control the queue: cancel, pause, resume, retry. Root's alone."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dsgmigd.cancel import cancel
from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_TRY_AGAIN, errors_for_people
from dsgmigd.errors import AlreadyRunning, NothingToRetry
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import Request, request_from_mapping
from dsgmigd.spool import Spool

Verb = TypeVar("Verb", bound=Callable[..., Any])


@click.command(name="cancel")
@click.argument("repo")
@click.option(
    "--discard", is_flag=True, help="Destroy what the running request built; else it is kept."
)
@click.pass_obj
def cancel_command(context: Context, repo: str, *, discard: bool) -> None:
    """End the requests for one repository: the one that waits, and the one that is worked on.

    Both get a result with the outcome `cancelled`. Running work stops within seconds; what is
    verified stays in staging, and the next request goes on from there.

    \b
    Examples:  dsgmigd cancel SV
               dsgmigd cancel SV --discard
    """
    with errors_for_people():
        name = parse_repo_name(repo)
        ended = cancel(_spool(context), name, discard=discard)
    for request_id in ended.withdrawn:
        click.echo(f"{name}: the waiting request is cancelled ({request_id})")
    if ended.told_to_stop:
        click.echo(f"{name}: the running request is told to stop ({ended.told_to_stop})")


def _what(verb: Verb) -> Verb:
    """Let a verb name what it is about: a repository, an instance, or all instances."""
    number = click.IntRange(1, 999)
    every = click.option("--all", "is_all", is_flag=True, help="Every instance.")
    one = click.option("--instance", type=number, help="One instance, by its number.")
    return click.argument("repo", required=False)(one(every(verb)))


@click.command(name="pause")
@_what
@click.pass_obj
def pause_command(
    context: Context, repo: str | None, *, instance: int | None, is_all: bool
) -> None:
    """Let nobody claim requests of a repository, or let an instance, or all, claim nothing.

    Requests stay in the spool; running work goes on. It holds until `resume`, over restarts too.

    \b
    Examples:  dsgmigd pause SV
               dsgmigd pause --instance 2
               dsgmigd pause --all
    """
    name = _paused(repo, instance, is_all=is_all)
    with errors_for_people():
        control = _spool(context).control
        with control.held():
            control.pause(name, instance)
    click.echo(f"{_words(name, instance)}: paused")


@click.command(name="resume")
@_what
@click.pass_obj
def resume_command(
    context: Context, repo: str | None, *, instance: int | None, is_all: bool
) -> None:
    """Take back a pause: the same one, others stay.

    \b
    Examples:  dsgmigd resume SV
               dsgmigd resume --instance 2
               dsgmigd resume --all
    """
    name = _paused(repo, instance, is_all=is_all)
    with errors_for_people():
        control = _spool(context).control
        with control.held():
            was_paused = control.resume(name, instance)
    click.echo(f"{_words(name, instance)}: {'resumed' if was_paused else 'was not paused'}")


@click.command(name="retry")
@click.argument("repo")
@click.pass_obj
def retry_command(context: Context, repo: str) -> None:
    """Ask again for what failed or was cancelled last, with the same options.

    A request that waits for its target is tried at once.

    \b
    Example:  dsgmigd retry SV
    """
    with errors_for_people():
        name = parse_repo_name(repo)
        spool = _spool(context)
        if spool.end_deferral(name):
            spool.control.nudge()
            click.echo(f"{name}: tried again now")
            return
        is_new = spool.submit(name, _options_to_retry(spool, name))
    click.echo(f"{name}: {'submitted' if is_new else 'waits already'}")
    if not is_new:
        sys.exit(EXIT_TRY_AGAIN)


def _options_to_retry(spool: Spool, name: RepoName) -> Request:
    claimed_id = spool.claimed_request_id(name)
    last = spool.results.last(name)
    is_ended = last is not None and last["request_id"] == claimed_id  # the claim is about to go
    if claimed_id is not None and not is_ended:
        raise AlreadyRunning(
            f"a request for {name} is worked on now", hint="see how far it is: dsgmigd status"
        )
    if last is None:
        raise NothingToRetry(f"{name} has no result yet", hint=f"dsgmigd submit {name}")
    if last["outcome"] not in {"failed", "cancelled"}:
        raise NothingToRetry(
            f"the last request for {name} ended as {last['outcome']}",
            hint=f"ask for a new run with: dsgmigd submit {name}",
        )
    return request_from_mapping(last["request"])


def _spool(context: Context) -> Spool:
    spool = context.spool()
    spool.prepare()
    return spool


def _paused(repo: str | None, instance: int | None, *, is_all: bool) -> RepoName | None:
    """Return the repository, if it is one; only one thing may be named."""
    if (repo is not None) + (instance is not None) + is_all != 1:
        raise click.UsageError("name a repository, or give --instance N, or --all")
    with errors_for_people():
        return None if repo is None else parse_repo_name(repo)


def _words(repo: RepoName | None, instance: int | None) -> str:
    return repo or ("all instances" if instance is None else f"instance {instance}")
