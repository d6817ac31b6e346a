"""The paths of a spool, which are a format."""

import os

import pytest

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.spool.layout import SpoolLayout

REPO = RepoName("co.uk_2")
LAYOUT = SpoolLayout("/spool")


def test_the_paths_are_those_that_earlier_versions_wrote() -> None:
    assert [
        LAYOUT.request(REPO),
        LAYOUT.claim(REPO, 7),
        LAYOUT.newest_result(REPO),
        LAYOUT.verified_result(REPO),
        LAYOUT.discrepancies(REPO),
        LAYOUT.rejected_result("an-id"),
        LAYOUT.lock(REPO),
        LAYOUT.kept_result(REPO, "an-id"),
        LAYOUT.ledger,
        LAYOUT.ledger_lock,
        LAYOUT.instance_status(7),
        LAYOUT.work_file(REPO, "show", 7),
        LAYOUT.cancel(REPO),
        LAYOUT.withdrawn(REPO, "an-id"),
        LAYOUT.evidence(REPO),
    ] == [
        "/spool/co.uk_2.request",
        "/spool/co.uk_2.claim.7",
        "/spool/co.uk_2.result.json",
        "/spool/co.uk_2.verified.json",
        "/spool/co.uk_2.discrepancies.jsonl",
        "/spool/rejected/an-id.result.json",
        "/spool/.dsgmigd/locks/co.uk_2",
        "/spool/.dsgmigd/results/co.uk_2.an-id.json",
        "/spool/.dsgmigd/results/ledger.jsonl",
        "/spool/.dsgmigd/ledger.lock",
        "/spool/.dsgmigd/instances/7.json",
        "/spool/.dsgmigd/work/co.uk_2.show.7",
        "/spool/.dsgmigd/control/co.uk_2.cancel",
        "/spool/.dsgmigd/control/co.uk_2.an-id.withdrawn",
        "/spool/.dsgmigd/evidence/co.uk_2",
    ]


@pytest.mark.parametrize("path", [LAYOUT.request(REPO), LAYOUT.newest_result(REPO)])
def test_no_repository_can_have_the_name_of_a_file_of_the_spool(path: str) -> None:
    with pytest.raises(InvalidName):
        parse_repo_name(os.path.basename(path).removesuffix(".json"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (LAYOUT.kept_result(REPO, "an-id"), "co.uk_2.an-id.json"),
        (LAYOUT.rejected_result("an-id"), "rejected/an-id.result.json"),
    ],
)
def test_the_ledger_has_a_name_for_each_result_that_leads_back_to_it(path: str, name: str) -> None:
    assert LAYOUT.recorded_name(path) == name
    assert LAYOUT.recorded_result(name) == path
