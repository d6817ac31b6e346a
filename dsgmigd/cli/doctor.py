"""The command that finds what interrupted requests left behind."""

import sys
from dataclasses import asdict

import click

from dsgmigd.cli.acts import recorded
from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_WARNINGS, say, say_json, table
from dsgmigd.host.terminal import printable
from dsgmigd.maintenance.doctor.doctor import Doctor
from dsgmigd.maintenance.doctor.leftover import Findings, Leftover, Treatment
from dsgmigd.spool.spool import Spool

_HEADER = ("LEFT", "REPO", "REQUEST", "WHERE", "WHY", "FIX")
_FIXES: dict[Treatment, str] = {
    "remove": "--fix removes it",
    "discard": "--fix --discard-staging removes it",
    "keep": "kept",
    "look": "inspect it",
}


@click.command(name="doctor")
@click.option(
    "--fix",
    "is_fixing",
    is_flag=True,
    help="Remove leftovers that dsgmigd created and no longer needs.",
)
@click.option(
    "--discard-staging",
    "is_discarding",
    is_flag=True,
    help="With --fix: also destroy interrupted work that could be resumed.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def doctor_command(
    context: Context, *, is_fixing: bool, is_discarding: bool, is_json: bool
) -> None:
    """List leftovers of interrupted requests; without --fix, change nothing.

    Objects that a running or waiting request needs are not listed; objects that dsgmigd did not
    create are never touched. All instances that work on this source or this target must share one
    spool. Exit status 3: there are leftovers, or a location could not be checked.

    \b
    Examples:  dsgmigd doctor
               dsgmigd doctor --fix
    """
    if is_discarding and not is_fixing:
        raise click.UsageError("--discard-staging works only with --fix")
    treatments: list[Treatment] = ["remove"] if is_fixing else []
    if is_discarding:
        treatments.append("discard")
    settings = context.config.settings()
    doctor = Doctor(
        context.spool(),
        source_root=settings.source_root,
        parent=settings.target_parent,
        area=settings.area,
    )
    findings = _fix(doctor, context.spool(), treatments) if treatments else doctor.examine()
    if is_json:
        say_json(to_json(findings))
    else:
        say(to_text(findings))
    if not findings.is_clean:
        sys.exit(EXIT_WARNINGS)


def _fix(doctor: Doctor, spool: Spool, treatments: list[Treatment]) -> Findings:
    spool.prepare()
    with recorded(spool, "doctor", what="--fix") as act:
        findings = doctor.examine(treatments)
        removed = [one.where for one in findings.leftovers if one.is_removed]
        failed = sum(one.error is not None for one in findings.leftovers)
        act.outcome = "failed" if failed else "done"
        act.what = f"removed {len(removed)}, not removed {failed}: {', '.join(removed)}"
    return findings


def to_json(findings: Findings) -> dict[str, object]:
    """Return findings as one object for scripts."""
    return {
        "is_clean": findings.is_clean,
        "leftovers": [asdict(leftover) for leftover in findings.leftovers],
        "problems": list(findings.problems),
    }


def to_text(findings: Findings) -> str:
    """Return findings as a table, with a last line that says what to do."""
    rows = [_row(leftover) for leftover in findings.leftovers]
    lines = [table(_HEADER, rows)] if rows else []
    lines += [f"could not check: {printable(problem)}" for problem in findings.problems]
    return "\n".join([*lines, _advice(findings)])


def _row(leftover: Leftover) -> tuple[str, ...]:
    names = (leftover.kind, leftover.repo or "-", leftover.request_id or "-")
    return (*names, printable(leftover.where), printable(leftover.why), _fix_words(leftover))


def _fix_words(leftover: Leftover) -> str:
    if leftover.is_removed:
        return "removed"
    if leftover.error is not None:
        return f"not removed: {printable(leftover.error)}"
    return _FIXES[leftover.treatment]


def _advice(findings: Findings) -> str:
    still_open = [leftover for leftover in findings.leftovers if leftover.is_open]
    if not still_open:
        words = "nothing found"
        return f"{words}; some locations could not be checked" if findings.problems else words
    count = {
        treatment: sum(one.treatment == treatment and one.error is None for one in still_open)
        for treatment in _FIXES
    }
    sentences = [f"leftovers: {len(still_open)}"]
    if count["remove"]:
        sentences.append(f"`dsgmigd doctor --fix` removes {count['remove']}")
    if count["discard"]:
        sentences.append("`dsgmigd migrate REPO` continues the work in staging")
    if count["look"]:
        sentences.append(f"{count['look']} to inspect: dsgmigd does not touch them")
    if any(one.error for one in still_open):
        sentences.append("fix what prevented the other removals, and run it again")
    return "; ".join(sentences)
