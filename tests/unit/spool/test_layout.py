"""The paths of a spool: what is built from names is parsed back into the same names."""

import os

import pytest

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.spool.layout import (
    SpoolLayout,
    WorkFile,
    WorkKind,
    is_request_name,
    is_spool_name,
    parse_claim_name,
    parse_control_names,
    parse_instance_numbers,
    parse_kept_result_name,
    parse_request_name,
    parse_work_file_name,
)

REPO = RepoName("co.uk_2")
LAYOUT = SpoolLayout("/spool")


def test_the_paths_are_those_that_earlier_versions_wrote() -> None:
    assert [
        LAYOUT.request(REPO),
        LAYOUT.claim(REPO, 7),
        LAYOUT.newest_result(REPO),
        LAYOUT.discrepancies(REPO),
        LAYOUT.rejected_result("an-id"),
        LAYOUT.lock(REPO),
        LAYOUT.kept_result(REPO, "an-id"),
        LAYOUT.instance_status(7),
        LAYOUT.work_file(REPO, "show", 7),
        LAYOUT.cancel(REPO),
        LAYOUT.withdrawn(REPO, "an-id"),
    ] == [
        "/spool/co.uk_2.request",
        "/spool/co.uk_2.claim.7",
        "/spool/co.uk_2.result.json",
        "/spool/co.uk_2.discrepancies.jsonl",
        "/spool/rejected/an-id.result.json",
        "/spool/.dsgmigd/locks/co.uk_2",
        "/spool/.dsgmigd/results/co.uk_2.an-id.json",
        "/spool/.dsgmigd/instances/7.json",
        "/spool/.dsgmigd/work/co.uk_2.show.7",
        "/spool/.dsgmigd/control/co.uk_2.cancel",
        "/spool/.dsgmigd/control/co.uk_2.an-id.withdrawn",
    ]


def test_a_path_is_parsed_back_into_the_names_it_was_built_from() -> None:
    base = os.path.basename
    assert parse_request_name(base(LAYOUT.request(REPO))) == REPO
    assert parse_claim_name(base(LAYOUT.claim(REPO, 7))) == (REPO, 7)
    assert parse_kept_result_name(base(LAYOUT.kept_result(REPO, "an-id"))) == REPO
    assert parse_instance_numbers([base(LAYOUT.instance_lock(7)), "8.json"]) == {7}


@pytest.mark.parametrize(
    ("kind", "is_under_lock"),
    [("claim", True), ("show", True), ("discrepancies", True), ("result", False)],
)
def test_a_work_file_names_its_repository_kind_and_instance(
    kind: WorkKind, *, is_under_lock: bool
) -> None:
    file = parse_work_file_name(os.path.basename(LAYOUT.work_file(REPO, kind, 3)))
    assert file == WorkFile(kind, 3, REPO)
    assert file.is_under_the_repository_lock == is_under_lock


def test_the_status_of_an_instance_is_no_file_of_a_repository() -> None:
    file = parse_work_file_name(os.path.basename(LAYOUT.new_status(3)))
    assert file == WorkFile("status", 3, None)


@pytest.mark.parametrize("name", ["", "SV", "SV.status.1", "SV.claim", "SV.claim.x", "a b.claim.1"])
def test_a_name_that_no_instance_writes_is_no_work_file(name: str) -> None:
    assert parse_work_file_name(name) is None


@pytest.mark.parametrize("number", ["0", "01", "1000", "٣", "²", "-1", "+1", " 1", "1\n"])
def test_the_number_of_an_instance_has_one_spelling(number: str) -> None:
    assert parse_claim_name(f"SV.claim.{number}") is None
    assert parse_work_file_name(f"SV.result.{number}") is None
    assert parse_instance_numbers([f"{number}.lock"]) == set()
    assert parse_control_names([f"{number}.instance"]).paused_instances == frozenset()


@pytest.mark.parametrize("name", [".#SV.request", "._SV.request", "SV.request~", ".SV.request.swp"])
def test_what_an_editor_puts_beside_a_request_is_none(name: str) -> None:
    assert parse_request_name(name) is None
    assert not is_request_name(f"/spool/{name}")
    assert not is_spool_name(name)


@pytest.mark.parametrize(
    "path",
    [
        *(LAYOUT.request(REPO), LAYOUT.request("bad name"), LAYOUT.submission("id")),
        *(LAYOUT.claim(REPO, 7), LAYOUT.newest_result(REPO), LAYOUT.discrepancies(REPO)),
        *(LAYOUT.rejected, os.path.dirname(LAYOUT.locks)),
    ],
)
def test_every_name_that_the_spool_has_a_use_for_is_known(path: str) -> None:
    assert is_spool_name(os.path.basename(path))


@pytest.mark.parametrize("name", ["README", "SV.claim.01", "bad name.result.json", ".result.json"])
def test_a_name_without_a_use_is_known_as_such(name: str) -> None:
    assert not is_spool_name(name)


@pytest.mark.parametrize("name", ["SV", ".claim.1", "SV.claim.", "SV.claim.x", "a b.claim.1"])
def test_a_name_that_no_claim_has_is_no_claim(name: str) -> None:
    assert parse_claim_name(name) is None


def test_control_files_are_parsed_back_and_other_names_are_skipped() -> None:
    paths = [
        LAYOUT.cancel(REPO),
        LAYOUT.pause(REPO, None),
        LAYOUT.pause(None, 4),
        LAYOUT.withdrawn(REPO, "an-id"),
        LAYOUT.control_file("lock"),
        LAYOUT.control_file("new"),
        LAYOUT.control_file("nudge"),
    ]
    strange = ["x.instance", f"{REPO}..withdrawn"]
    names = parse_control_names([os.path.basename(path) for path in paths] + strange)
    assert (names.cancels, names.withdrawn) == ([REPO], [(REPO, "an-id")])
    assert names.paused_repositories == frozenset({REPO})
    assert names.paused_instances == frozenset({4})
    assert not names.is_all_paused
    assert parse_control_names([os.path.basename(LAYOUT.pause(None, None))]).is_all_paused


@pytest.mark.parametrize("path", [LAYOUT.request(REPO), LAYOUT.newest_result(REPO)])
def test_no_repository_can_have_the_name_of_a_file_of_the_spool(path: str) -> None:
    with pytest.raises(InvalidName):
        parse_repo_name(os.path.basename(path).removesuffix(".json"))
