"""The verb that finds what dead requests left behind."""

import json
import sys
from dataclasses import asdict

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_USAGE, EXIT_WARNINGS, errors_for_people, shown, table
from dsgmigd.doctor.examine import Doctor
from dsgmigd.doctor.leftover import Findings, Leftover, Treatment

_HEADER = ("LEFT", "REPO", "REQUEST", "WHERE", "WHY", "FIX")
_FIXES: dict[Treatment, str] = {
    "remove": "--fix removes it",
    "discard": "--fix --discard-staging removes it",
    "keep": "it is kept",
    "look": "look at it",
}


@click.command(name="doctor")
@click.option("--fix", "is_fixing", is_flag=True, help="Remove what is ours and of no more use.")
@click.option(
    "--discard-staging",
    "is_discarding",
    is_flag=True,
    help="With --fix: give up interrupted work as well.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def doctor_command(
    context: Context, *, is_fixing: bool, is_discarding: bool, is_json: bool
) -> None:
    """List what dead requests left behind; touch nothing unless asked to.

    What belongs to living or waiting work is not listed, what is not ours is never touched. All
    who work on this source and this target must share one spool. Exit status 3: something is
    left over, or could not be looked at.

    \b
    Examples:  dsgmigd doctor
               dsgmigd doctor --fix
    """
    if is_discarding and not is_fixing:
        click.echo("dsgmigd: --discard-staging means something with --fix only", err=True)
        sys.exit(EXIT_USAGE)
    treatments: list[Treatment] = ["remove"] if is_fixing else []
    if is_discarding:
        treatments.append("discard")
    with errors_for_people():
        settings = context.config.settings()
        doctor = Doctor(
            context.spool(),
            source_root=settings.source_root,
            parent=settings.target_parent,
            area=settings.area,
        )
        findings = doctor.examine(treatments)
    click.echo(json.dumps(to_json(findings), indent=1) if is_json else to_text(findings))
    if not findings.is_clean:
        sys.exit(EXIT_WARNINGS)


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
    lines += [f"could not look: {shown(problem)}" for problem in findings.problems]
    return "\n".join([*lines, _advice(findings)])


def _row(leftover: Leftover) -> tuple[str, ...]:
    names = (leftover.kind, leftover.repo or "-", leftover.request_id or "-")
    return (*names, shown(leftover.where), shown(leftover.why), _fix(leftover))


def _fix(leftover: Leftover) -> str:
    if leftover.is_removed:
        return "removed"
    if leftover.error is not None:
        return f"not removed: {shown(leftover.error)}"
    return _FIXES[leftover.treatment]


def _advice(findings: Findings) -> str:
    still_open = [leftover for leftover in findings.leftovers if leftover.is_open]
    if not still_open:
        words = "nothing is left over"
        return f"{words} where it could be looked" if findings.problems else words
    count = {
        treatment: sum(one.treatment == treatment and one.error is None for one in still_open)
        for treatment in _FIXES
    }
    sentences = [f"left over: {len(still_open)}"]
    if count["remove"]:
        sentences.append(f"`dsgmigd doctor --fix` removes {count['remove']}")
    if count["discard"]:
        sentences.append("`dsgmigd migrate REPO` goes on with what is in staging")
    if count["look"]:
        sentences.append(f"{count['look']} to look at: dsgmigd does not touch them")
    if any(one.error for one in still_open):
        sentences.append("mend what kept the others from being removed, and try again")
    return "; ".join(sentences)
