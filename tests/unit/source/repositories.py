"""Repositories of plain directories."""

from pathlib import Path

from dsgmigd.names import parse_repo_name
from dsgmigd.source.repository import Repository, find_repository

SV = parse_repo_name("SV")
SPOOL_ID = "00000000-0000-0000-0000-000000000099"


def make_snapshots(repository: Path, *names: str) -> Path:
    for name in names:
        (repository / name).mkdir(parents=True)
    return repository


def find(root: Path) -> Repository:
    """Return the repository SV below a source root."""
    return find_repository(str(root), SV)
