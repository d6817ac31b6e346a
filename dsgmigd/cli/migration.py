"""The commands that work on one repository in the foreground: migrate, verify, plan."""

import contextlib
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from dsgmigd.cli.context import Context, locked
from dsgmigd.cli.foreground import ForegroundRun, kept_run
from dsgmigd.cli.output import (
    EXIT_DONE,
    EXIT_WARNINGS,
    exit_code,
    log_beside_progress,
    progress_shown,
    say,
    say_json,
    table,
    unchecked,
)
from dsgmigd.custody.store import Store
from dsgmigd.errors import DsgmigdError, Interruption
from dsgmigd.host.command import Commands
from dsgmigd.host.encoding import to_json
from dsgmigd.host.terminal import printable
from dsgmigd.migration.job import Job
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.published_check import PublishedCheck
from dsgmigd.migration.report import Report
from dsgmigd.migration.result import Ending
from dsgmigd.migration.run import Run
from dsgmigd.names import SnapshotName, parse_repo_name
from dsgmigd.request import LOSS_WORDS, VERIFY_LEVELS, Request, VerifyLevel, request_from_mapping
from dsgmigd.target.native import find_native
from dsgmigd.verification.discrepancy_file import DiscrepancyFile
from dsgmigd.verification.kept_proofs import ProofFile

AnyRun = TypeVar("AnyRun", bound=Run)

_HEADER = ("SNAPSHOT", "BY", "FILES", "BYTES", "READ", "ALREADY PROVEN", "DIFFERENCES", "SECONDS")

differences_option = click.option(
    "--differences",
    type=click.Path(dir_okay=False),
    help="Write every difference to this file, one JSON object a line.",
)


@click.command(name="migrate")
@click.argument("repo")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--verify", type=click.Choice(VERIFY_LEVELS), help="Level of verification.")
@click.option("--replace", is_flag=True, help="Build a new dataset; keep the existing one.")
@differences_option
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
    """Migrate one repository now, without the queue.

    Ctrl-C stops it; the next migration continues after the last verified snapshot.

    \b
    Examples:  dsgmigd migrate SV
               dsgmigd migrate SV --limit 5 --json
    """
    given = Request(limit, verify, replace or None, migration_tag=migration_tag)
    request = request_from_mapping(given.to_json())
    work(
        *(context, Migration, repo, request, Migration.run),
        act="migrate",
        differences=differences,
        is_json=is_json,
    )


@click.command(name="verify")
@click.argument("subject", metavar="REPO[@sK]")
@click.option(
    "--level",
    type=click.Choice(VERIFY_LEVELS),
    default="complete",
    show_default=True,
    help="How much is read.",
)
@click.option(
    "--without-source",
    is_flag=True,
    help="Check the dataset against its own manifests; no source is needed.",
)
@differences_option
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
    """Compare a published dataset with its source.

    Every snapshot is compared, or only the one that is named.

    \b
    Examples:  dsgmigd verify SV
               dsgmigd verify SV@s7 --level exhaustive
               dsgmigd verify SV --without-source
    """
    if without_source and level == "changes":
        raise click.UsageError("the level changes needs the source: choose another --level")
    repo, at, snapshot = subject.partition("@")

    def verify(check: PublishedCheck) -> Report:
        wanted = SnapshotName.parse(snapshot) if at else None
        compare = check.check if without_source else check.verify
        return compare(level=level, snapshot=wanted)

    work(
        *(context, PublishedCheck, repo, Request(), verify),
        act="verify",
        differences=differences,
        is_json=is_json,
    )


@click.command(name="plan")
@click.argument("repo")
@click.option("--limit", type=click.IntRange(1), help="Only the first LIMIT snapshots.")
@click.option("--replace", is_flag=True, help="Plan as if an existing target may be replaced.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def plan_command(
    context: Context, repo: str, *, limit: int | None, replace: bool, is_json: bool
) -> None:
    """Show what a migration would do; change nothing.

    \b
    Example:  dsgmigd plan SV
    """
    name = parse_repo_name(repo)
    request = Request(limit=limit, replace=replace or None)
    job = Job(name, request, str(uuid.uuid4()), context.spool_id())
    migration = _new(Migration, context, job, Commands(), Progress(repo=name))
    repository, plan = migration.survey()
    document = plan.to_json()
    warnings = migration.forecast(plan)
    if is_json:
        say_json({**document, "warnings": warnings})
        return
    say(f"source: {printable(repository.directory)}")
    say(f"target: {migration.target_facts().dataset}")
    for key, value in document.items():
        words = ", ".join(value) or "none" if isinstance(value, list) else value
        say(f"{key.replace('_', ' ')}: {words}")
    for warning in warnings:
        say(f"warning: {printable(warning)}")


def _new(
    kind: type[AnyRun],
    context: Context,
    job: Job,
    commands: Commands,
    progress: Progress,
    *,
    differences: DiscrepancyFile | None = None,
) -> AnyRun:
    note = differences.add if differences else lambda _, __: None
    settings, layout = context.config.settings(), context.spool().layout
    return kind(
        *(job, settings, commands, progress),
        note=note,
        native=find_native(),
        kept_proofs=ProofFile(layout.kept_proofs(job.repo)),
        evidence_store=Store(layout.evidence(job.repo)),
    )


def work(
    context: Context,
    kind: type[AnyRun],
    repo: str,
    request: Request,
    action: Callable[[AnyRun], Report],
    *,
    act: str,
    differences: str | None,
    is_json: bool,
) -> None:
    """Run `action` under the repository's lock, print progress and result, and exit."""
    progress = Progress(repo=repo)
    file = DiscrepancyFile(differences) if differences else None
    told = ForegroundRun(repo, request, file)
    ending, result = Ending(), None
    log_beside_progress()
    with _stopping_by_signal(progress), progress_shown(progress):
        try:
            name = parse_repo_name(repo)
            with (
                locked(context, name) as commands,
                kept_run(context.spool(), act, name, told.request_id) as run,
            ):
                job = Job(name, request, told.request_id, context.spool().identity())
                work = _new(kind, context, job, commands, progress, differences=file)
                ending = _run(work, action)
                result = told.result_of(ending)
                run.keep(result)
        except (DsgmigdError, Interruption) as error:
            if result is None:
                ending = Ending(error=error)
                result = told.result_of(ending)
            else:  # the work is done, and only its record is not
                result["warnings"].append(f"{error.message}: {error.hint}")
    say(to_json(result, indent=1) if is_json else _summary(result))
    if ending.error:
        sys.exit(exit_code(ending.error))
    sys.exit(EXIT_WARNINGS if result["warnings"] else EXIT_DONE)


def _run(work: AnyRun, action: Callable[[AnyRun], Report]) -> Ending:
    try:
        action(work)
    except (DsgmigdError, Interruption) as error:
        return Ending(work.report, error)
    return Ending(work.report)


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


def _summary(result: dict[str, Any]) -> str:
    """Return a result as people read it."""
    lines = [table(_HEADER, [_row(row) for row in result["snapshots"]])] * bool(result["snapshots"])
    lines += unchecked(result["checks"])
    lines += [f"warning: {printable(warning)}" for warning in result["warnings"]]
    lines += [
        f"allowed losses: {LOSS_WORDS[loss['loss']]} on {loss['count']:,} "
        f"{'snapshots' if loss['loss'] == 'push_log' else 'paths'}"
        for loss in result["losses"]
    ]
    target = result["target"]
    # What failed may have built no dataset yet.
    is_there = target and result["outcome"] not in {"failed", "differs"}
    where = f" in {target['dataset']}" if is_there else ""
    mounted = f", mounted at {target['mountpoint']}" if target and target["mountpoint"] else ""
    lines += _describe_verification(result)
    alone = ", against its own manifests only" if result["source"] is None else ""
    lines.append(
        f"{printable(result['repo'])}: {result['outcome']}{where}{printable(mounted)}{alone}"
    )
    if error := result["error"]:
        lines.append(
            f"{error['code']}: {printable(error['message'])}\n  {printable(error['hint'])}"
        )
    return "\n".join(lines)


def _describe_verification(result: dict[str, Any]) -> list[str]:
    """Return what this run verified, or else what is on record; nothing of what never was."""
    if now := result["verified_now"]:
        return [f"verified by this run: {now['snapshots']} snapshots, level {now['level']}"]
    if last := result["last_verified"]:
        when = f" at {last['at']}" if last["at"] else ""
        return [f"this run verified nothing; on record: {last['level']}{when}"]
    return []


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    found = row["verification"] or {}
    counts = (found.get(key, "-") for key in ("files_read", "files_proven", "discrepancy_count"))
    seconds = round(row["seconds"] + row["verify_seconds"], 3)
    return (row["name"], row["method"] or "-", row["files"], row["bytes"], *counts, seconds)
