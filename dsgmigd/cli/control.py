"""The commands cancel, pause, resume and retry, which only root may use."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dsgmigd.cli.acts import recorded
from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_TRY_AGAIN, say
from dsgmigd.errors import AlreadyRunning, NothingToRetry
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import Request, request_from_mapping
from dsgmigd.service.cancel import cancel
from dsgmigd.service.permission import Permission
from dsgmigd.spool.claiming import end_deferral
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import claimed_request_id

_RETRIES = {
    "retried": "is retried now",
    "submitted": "submitted",
    "unchanged": "already queued",
}

Command = TypeVar("Command", bound=Callable[..., Any])


@click.command(name="cancel")
@click.argument("repo")
@click.option(
    "--discard", is_flag=True, help="Destroy what the running request built; otherwise it is kept."
)
@click.pass_obj
def cancel_command(context: Context, repo: str, *, discard: bool) -> None:
    """Cancel the requests for one repository, waiting or running.

    Each gets a result with the outcome `cancelled`. Running work stops within seconds; verified
    snapshots stay in staging, and the next request continues after them.

    \b
    Examples:  dsgmigd cancel SV
               dsgmigd cancel SV --discard
    """
    name = parse_repo_name(repo)
    spool = _spool(context)
    with recorded(spool, "cancel", name, what="--discard" if discard else None) as act:
        ended = cancel(spool, name, discard=discard)
        act.request_id = ended.told_to_stop or ended.withdrawn[0]
        act.outcome = "requested" if ended.told_to_stop else "done"
        if len(ids := [*ended.withdrawn, *filter(None, [ended.told_to_stop])]) > 1:
            act.what = " ".join([*filter(None, [act.what]), *ids])
    for request_id in ended.withdrawn:
        say(f"{name}: the waiting request is cancelled ({request_id})")
    if ended.told_to_stop:
        say(f"{name}: cancellation requested for the running request ({ended.told_to_stop})")


def _subject(command: Command) -> Command:
    """Let a command take a repository, an instance, or all instances."""
    number = click.IntRange(1, 999)
    every = click.option("--all", "is_all", is_flag=True, help="Every instance.")
    one = click.option("--instance", type=number, help="One instance, by its number.")
    return click.argument("repo", required=False)(one(every(command)))


@click.command(name="pause")
@_subject
@click.pass_obj
def pause_command(
    context: Context, repo: str | None, *, instance: int | None, is_all: bool
) -> None:
    """Pause a repository, one instance, or all instances.

    No new request is claimed; requests stay in the spool, and running work continues. A pause lasts
    until `resume`, across restarts.

    \b
    Examples:  dsgmigd pause SV
               dsgmigd pause --instance 2
               dsgmigd pause --all
    """
    name = _paused(repo, instance, is_all=is_all)
    spool = _spool(context)
    with spool.control.held(), recorded(spool, "pause", name, what=_what(name, instance)):
        spool.control.pause(name, instance)
    say(f"{_words(name, instance)}: paused")


@click.command(name="resume")
@_subject
@click.pass_obj
def resume_command(
    context: Context, repo: str | None, *, instance: int | None, is_all: bool
) -> None:
    """End a pause.

    Only the pause that is named ends; others stay in force.

    \b
    Examples:  dsgmigd resume SV
               dsgmigd resume --instance 2
               dsgmigd resume --all
    """
    name = _paused(repo, instance, is_all=is_all)
    spool = _spool(context)
    with spool.control.held(), recorded(spool, "resume", name, what=_what(name, instance)) as act:
        was_paused = spool.control.resume(name, instance)
        act.outcome = "done" if was_paused else "unchanged"
    say(f"{_words(name, instance)}: {'resumed' if was_paused else 'was not paused'}")


@click.command(name="retry")
@click.argument("repo")
@click.pass_obj
def retry_command(context: Context, repo: str) -> None:
    """Resubmit the last failed or cancelled request.

    It has the same options. A request that is waiting to be retried is tried at once.

    \b
    Example:  dsgmigd retry SV
    """
    name = parse_repo_name(repo)
    spool = _spool(context)
    with recorded(spool, "retry", name) as act:
        act.outcome = _retry(context, spool, name)
    say(f"{name}: {_RETRIES[act.outcome]}")
    if act.outcome == "unchanged":
        sys.exit(EXIT_TRY_AGAIN)


def _retry(context: Context, spool: Spool, name: RepoName) -> str:
    if end_deferral(spool, name):
        spool.control.nudge()
        return "retried"
    is_new = submit_request(spool, name, _options_to_retry(context, spool, name))
    return "submitted" if is_new else "unchanged"


def _options_to_retry(context: Context, spool: Spool, name: RepoName) -> Request:
    claimed_id = claimed_request_id(spool, name)
    last = spool.results.last(name)
    is_ended = (
        last is not None and last["request_id"] == claimed_id
    )  # its worker is about to remove the claim
    if claimed_id is not None and not is_ended:
        raise AlreadyRunning(
            f"a request for {name} is being processed", hint="see its progress: dsgmigd status"
        )
    if last is None:
        raise NothingToRetry(f"{name} has no result yet", hint=f"dsgmigd submit {name}")
    if last["outcome"] not in {"failed", "differs", "cancelled"}:
        raise NothingToRetry(
            f"the last request for {name} ended as {last['outcome']}",
            hint=f"submit a new request: dsgmigd submit {name}",
        )
    request = request_from_mapping(last["request"])
    # The new request is root's: it must not ask for what the submitter of the last one may not.
    members_may = context.config.worker_settings().members_may
    permission = Permission(context.config.settings(), members_may)
    permission.check(request, last.get("submitted_by", {}))
    return request


def _spool(context: Context) -> Spool:
    spool = context.spool()
    spool.prepare()
    return spool


def _paused(repo: str | None, instance: int | None, *, is_all: bool) -> RepoName | None:
    """Return the repository, if one is named; raise UsageError unless exactly one thing is."""
    if (repo is not None) + (instance is not None) + is_all != 1:
        raise click.UsageError("name a repository, or give --instance N, or --all")
    return None if repo is None else parse_repo_name(repo)


def _what(repo: RepoName | None, instance: int | None) -> str | None:
    return None if repo else _words(None, instance)


def _words(repo: RepoName | None, instance: int | None) -> str:
    return repo or ("all instances" if instance is None else f"instance {instance}")
