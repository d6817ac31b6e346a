"""The command custody export."""

import os
import time
from datetime import UTC, datetime
from typing import Any

import click

from dsgmigd import __version__
from dsgmigd.cli.acts import recorded
from dsgmigd.cli.context import Context, locked
from dsgmigd.cli.output import say, say_json
from dsgmigd.custody.bag import Evidence, Maker, check_free, write_bag
from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Store
from dsgmigd.host.terminal import printable
from dsgmigd.maintenance.evidenced import Evidenced, find_evidenced
from dsgmigd.names import RepoName, SnapshotName, parse_repo_name


@click.group(name="custody")
def custody_command() -> None:
    """Write published snapshots into bags, with their evidence."""


@custody_command.command(name="export")
@click.argument("subject", metavar="REPO[@sK]")
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False),
    required=True,
    help="Existing directory in which the bags are made.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def export_command(context: Context, subject: str, *, directory: str, is_json: bool) -> None:
    """Copy published snapshots, each into a bag with its evidence.

    A bag (BagIt, RFC 8493) can be checked on any host: with sha256sum, ssh-keygen and jq, or with
    any validator of bags. Each file is compared with the evidence while it is copied; if one
    differs, no bag is left. Snapshots without evidence are listed.

    \b
    Examples:  dsgmigd custody export SV --to /media/archive
               dsgmigd custody export SV@s7 --to /media/archive
    """
    name, asked = parse_subject(subject)
    place = os.path.abspath(directory)
    store = store_of(context, name)
    layout = context.config.settings().layout(name)
    with (
        locked(context, name) as commands,
        recorded(context.spool(), "custody export", name, what=f"{subject} to {place}"),
    ):
        evidenced = find_evidenced(commands, layout, store, asked)
        rows = _export(evidenced, store, place)
    without = [str(one) for one in evidenced.without]
    if is_json:
        say_json({"repo": name, "bags": rows, "without_evidence": without})
        return
    for row in rows:
        say(f"{printable(row['bag'])}: {row['files']} files, {row['bytes']} bytes, {_signed(row)}")
    if without:
        say(f"without evidence, so not exported: {', '.join(without)}")


def _export(evidenced: Evidenced, store: Store, place: str) -> list[dict[str, Any]]:
    for statement in evidenced.statements:
        check_free(statement, place)
    at = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    rows = []
    for statement in evidenced.statements:
        signature = store.signature(statement)
        evidence = Evidence(statement, store.load(statement), signature)
        with evidenced.view(statement) as root:
            bag = write_bag(root, evidence, place, Maker(at, __version__))
        rows.append(_row(statement, bag, is_signed=signature is not None))
    return rows


def _row(statement: Statement, bag: str, *, is_signed: bool) -> dict[str, Any]:
    return {
        "bag": bag,
        "snapshot": statement.snapshot,
        "root": statement.root,
        "files": statement.files,
        "bytes": statement.size_bytes,
        "is_signed": is_signed,
    }


def _signed(row: dict[str, Any]) -> str:
    return "signed" if row["is_signed"] else "not signed"


def parse_subject(subject: str) -> tuple[RepoName, SnapshotName | None]:
    """Return the repository and the snapshot in REPO[@sK]."""
    repo, at, snapshot = subject.partition("@")
    return parse_repo_name(repo), SnapshotName.parse(snapshot) if at else None


def store_of(context: Context, repo: RepoName) -> Store:
    """Return the kept evidence of a repository."""
    return Store(context.spool().layout.evidence(repo))
