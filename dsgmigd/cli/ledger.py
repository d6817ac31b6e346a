"""The command ledger."""

import sys
from typing import Any

import click

from dsgmigd.cli.context import Context
from dsgmigd.cli.output import EXIT_MISMATCH, say, say_json, table
from dsgmigd.host.terminal import printable
from dsgmigd.maintenance.ledger_check import LedgerCheck, check_ledger
from dsgmigd.names import parse_repo_name
from dsgmigd.spool.ledger_line import parse_line

_HEADER = ("LINE", "AT", "ACT", "REPO", "OUTCOME", "WHO", "WHAT")


@click.group(name="ledger")
def ledger_command() -> None:
    """Check or show the ledger, which has a line for each act."""


@ledger_command.command(name="check")
@click.option("--head", "wanted", metavar="HASH", help="Also find the line with this hash.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def check_command(context: Context, *, wanted: str | None, is_json: bool) -> None:
    """Recount the ledger and compare every result with its line.

    The hash of the last line is printed. Note it elsewhere: with --head it shows later whether
    lines were cut off or written anew. Exit status 4: something is not as it was written.

    \b
    Examples:  dsgmigd ledger check
               dsgmigd ledger check --head 5f3a…
    """
    spool = context.spool()
    spool.prepare()
    found = check_ledger(spool, wanted=wanted)
    if is_json:
        say_json(found.to_json())
    else:
        say(_to_text(found, wanted))
    if not found.is_intact:
        sys.exit(EXIT_MISMATCH)


@ledger_command.command(name="show")
@click.option("--repo", help="Only the acts on this repository.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def show_command(context: Context, *, repo: str | None, is_json: bool) -> None:
    """Show the lines of the ledger, the oldest first; nothing is checked.

    \b
    Examples:  dsgmigd ledger show
               dsgmigd ledger show --repo SV --json | jq '.lines[].user'
    """
    name = None if repo is None else parse_repo_name(repo)
    spool = context.spool()
    spool.check()
    lines = [line.document for line in map(parse_line, spool.ledger.read()) if line]
    lines = [line for line in lines if name in {None, line.get("repo")}]
    if is_json:
        say_json({"lines": lines})
    else:
        say(table(_HEADER, [_row(line) for line in lines]) if lines else "no act is recorded")


def _row(line: Any) -> tuple[object, ...]:
    what = line.get("what") or line.get("error") or line.get("result") or "-"
    keys = ("seq", "at", "act", "repo", "outcome")
    return (*(_cell(line.get(key)) for key in keys), _who(line.get("user")), _cell(what))


def _who(user: dict[str, Any] | None) -> str:
    if user is None:
        return "-"
    name = _cell(user.get("user") or user.get("uid"))
    login = user.get("loginuid")
    return name if login in {None, user.get("uid")} else f"{name} (login {login})"


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))


def _to_text(found: LedgerCheck, wanted: str | None) -> str:
    lines = []
    if found.misfit:
        lines.append(f"line {found.misfit.line}: {found.misfit.why}: {found.misfit.words}")
    for one in found.problems:
        where = "" if one.line is None else f" (line {one.line})"
        lines.append(f"result {printable(one.result)}{where}: {one.why}")
    if wanted is not None:
        words = "is in the chain" if found.has_wanted else "is not in the chain"
        lines.append(f"the line {printable(wanted)} {words}")
    if found.unended:
        numbers = ", ".join(map(str, found.unended))
        lines.append(f"begun, and not ended or still at work: line {numbers}")
    if found.recovered:
        lines.append(f"recovered after a crash: {found.recovered}")
    if found.repeated:
        numbers = ", ".join(map(str, found.repeated))
        lines.append(f"recorded again after a crash: line {numbers}")
    if found.older:
        lines.append(f"results from before the first line: {found.older}")
    lines.append(f"results as they were written: {found.results}; pruned: {found.pruned}")
    head = f"{found.head.line} {found.head.sha256}" if found.head else "none"
    lines.append(f"head: {head}")
    return "\n".join(lines)
