"""The verbs that work on repositories: run, migrate, verify, plan."""

import contextlib
import json
import logging
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import click
import structlog

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import (
    EXIT_DONE,
    EXIT_WARNINGS,
    errors_for_people,
    exit_code,
    progress_shown,
    table,
)
from dsgmigd.command import Commands
from dsgmigd.daemon import Worker
from dsgmigd.discrepancies import DiscrepancyFile
from dsgmigd.errors import AlreadyRunning, DsgmigdError
from dsgmigd.journal import configure_logging
from dsgmigd.migrate import Job, Migration, describe_plan
from dsgmigd.names import RepoName, SnapshotName, parse_repo_name
from dsgmigd.notify import Notifier
from dsgmigd.progress import Progress
from dsgmigd.report import Report
from dsgmigd.request import VERIFY_LEVELS, Request, VerifyLevel, request_from_mapping
from dsgmigd.result import envelope, failure, success

_SILENT = logging.CRITICAL  # the highest that structlog 22.3 knows
_PATIENCE_SECONDS = 2  # a worker shows its result a moment before it lets go of the lock


@click.command(name="run")
@click.option(
    "--instance", type=click.IntRange(1, 999), required=True, help="Number of this instance."
)
@click.pass_obj
def run_command(context: Context, *, instance: int) -> None:
    """Work on requests until SIGTERM: what dsgmigd@N.service does.

    \b
    Example:  dsgmigd run --instance 1
    """
    config = context.config
    configure_logging(instance=instance)
    with errors_for_people():
        Worker(
            instance, context.spool(instance), config.settings(), config.habits(), Notifier()
        ).run()


_differences_option = click.option(
    "--differences",
    type=click.Path(dir_okay=False),
    help="Write every difference that is found to this file, one JSON object a line.",
)


@click.command(name="migrate")
@click.argument("repo")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--verify", type=click.Choice(VERIFY_LEVELS), help="Level of verification.")
@click.option("--replace", is_flag=True, help="Build anew; keep an existing target aside.")
@_differences_option
@click.option("--migration-tag", metavar="vN", help="Add a tag for the last snapshot.")
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def migrate_command(
    context: Context,
    repo: str,
    *,
    limit: int | None,
    verify: VerifyLevel | None,
    replace: bool,
    differences: str | None,
    migration_tag: str | None,
    is_json: bool,
) -> None:
    """Migrate one repository now, in the foreground, without the queue.

    Interrupted by Ctrl-C it stops at a point from which the next call goes on.

    \b
    Examples:  dsgmigd migrate SV
               dsgmigd migrate SV --limit 5 --json
    """
    given = Request(limit, verify, replace or None, migration_tag=migration_tag)
    with errors_for_people():
        request = request_from_mapping(given.to_json())
    _work(context, repo, request, Migration.run, differences=differences, is_json=is_json)


@click.command(name="verify")
@click.argument("subject", metavar="REPO[@sK]")
@click.option(
    "--level",
    type=click.Choice(VERIFY_LEVELS),
    default="complete",
    show_default=True,
    help="What is read.",
)
@click.option(
    "--without-source",
    is_flag=True,
    help="Check the dataset against its own manifests; the source may be gone.",
)
@_differences_option
@click.option("--json", "is_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def verify_command(
    context: Context,
    subject: str,
    *,
    level: VerifyLevel,
    without_source: bool,
    differences: str | None,
    is_json: bool,
) -> None:
    """Compare a published dataset with its source: every snapshot of it, or the one named.

    \b
    Examples:  dsgmigd verify SV
               dsgmigd verify SV@s7 --level exhaustive
               dsgmigd verify SV --without-source
    """
    if without_source and level == "changes":
        raise click.UsageError("what changed is asked of the source: take another --level")
    repo, at, snapshot = subject.partition("@")

    def verify(migration: Migration) -> Report:
        wanted = SnapshotName.parse(snapshot) if at else None
        compare = migration.check if without_source else migration.verify
        return compare(level=level, snapshot=wanted)

    _work(context, repo, Request(), verify, differences=differences, is_json=is_json)


@click.command(name="plan")
@click.argument("repo")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--replace", is_flag=True, help="As if an existing target may be replaced.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def plan_command(
    context: Context, repo: str, *, limit: int | None, replace: bool, is_json: bool
) -> None:
    """Say what a migration would do; touch nothing.

    \b
    Example:  dsgmigd plan SV
    """
    with errors_for_people():
        name = parse_repo_name(repo)
        request = Request(limit=limit, replace=replace or None)
        migration = _migration(context, name, request, Commands(), Progress(repo=name))
        plan = describe_plan(migration.make_plan())
    if is_json:
        click.echo(json.dumps(plan, indent=1))
        return
    click.echo(f"source: {migration.report.source['directory']}")
    click.echo(f"target: {migration.report.target['dataset']}")
    for key, value in plan.items():
        words = ", ".join(value) or "none" if isinstance(value, list) else value
        click.echo(f"{key.replace('_', ' ')}: {words}")


def _migration(
    context: Context,
    name: RepoName,
    request: Request,
    commands: Commands,
    progress: Progress,
    *,
    differences: DiscrepancyFile | None = None,
) -> Migration:
    job = Job(name, request, str(uuid.uuid4()))
    options = {"note": differences.add} if differences else {}
    return Migration(job, context.config.settings(), commands, progress, **options)


def _work(
    context: Context,
    repo: str,
    request: Request,
    action: Callable[[Migration], Report],
    *,
    differences: str | None,
    is_json: bool,
) -> None:
    """Run `action` under the repository's lock, show progress and result, and end."""
    progress = Progress(repo=repo)
    started_at = time.time()
    error: DsgmigdError | None = None
    migration: Migration | None = None
    file = DiscrepancyFile(differences) if differences else None
    with logging_beside_progress(), _stopping_by_signal(progress), progress_shown(progress):
        try:
            name = parse_repo_name(repo)
            with locked(context, name) as commands:
                migration = _migration(
                    *(context, name, request, commands, progress), differences=file
                )
                outcome = success(action(migration))
        except DsgmigdError as caught:
            error = caught
            outcome = failure(caught, migration.report if migration else None)
    if file:
        file.close()
        outcome["warnings"] += [file.problem] if file.problem else []
    result = outcome | envelope(
        request_id=migration.request_id if migration else "",
        repo=repo,
        options=request.to_json(),
        instance=0,
        started_at=started_at,
        finished_at=time.time(),
    )
    click.echo(json.dumps(result, indent=1) if is_json else _summary(result))
    if error:
        sys.exit(exit_code(error))
    sys.exit(EXIT_WARNINGS if result["warnings"] else EXIT_DONE)


@contextlib.contextmanager
def locked(context: Context, name: RepoName) -> Iterator[Commands]:
    """Hold the lock of a repository; the commands inherit it."""
    spool = context.spool()
    spool.prepare(is_made_if_missing=True)
    lock = spool.lock_repository(name, patience_seconds=_PATIENCE_SECONDS)
    if lock is None:
        raise AlreadyRunning(
            f"somebody works on {name} already", hint="see who does: dsgmigd status"
        )
    try:
        yield Commands(keep_descriptors=(lock.descriptor,))
    finally:
        lock.release()


@contextlib.contextmanager
def _stopping_by_signal(progress: Progress) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        progress.stop_requested = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def logging_beside_progress() -> Iterator[None]:
    """Log to stderr, unless a person looks at the progress line there."""
    if sys.stderr.isatty():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
    else:
        configure_logging()
    yield


def _summary(result: dict[str, Any]) -> str:
    lines = []
    rows = []
    for row in result["snapshots"]:
        found = row["verification"] or {}
        rows.append(
            (
                row["name"],
                row["method"] or "-",
                row["files"],
                row["bytes"],
                found.get("files_read", "-"),
                found.get("discrepancy_count", "-"),
                row["seconds"],
            )
        )
    header = ("SNAPSHOT", "BY", "FILES", "BYTES", "COMPARED", "DIFFERENCES", "SECONDS")
    if rows:
        lines.append(table(header, rows))
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    lines += [f"lost: {loss['loss']}, {loss['count']} times" for loss in result["losses"]]
    target = result["target"]
    where = f" in {target['dataset']}" if target else ""
    mounted = f", mounted at {target['mountpoint']}" if target and target["mountpoint"] else ""
    alone = ", against its own manifests only" if result["source"] is None else ""
    lines.append(f"{result['repo']}: {result['outcome']}{where}{mounted}{alone}")
    if result["error"]:
        error = result["error"]
        lines.append(f"{error['code']}: {error['message']}\n  {error['hint']}")
    return "\n".join(lines)
