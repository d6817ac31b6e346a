"""What names of files in a spool stand for: they are parsed back into what they were built from."""

import os

import pytest

from dsgmigd.names import RepoName
from dsgmigd.spool.file_names import (
    WorkFile,
    is_request_name,
    is_spool_name,
    parse_claim_name,
    parse_control_names,
    parse_instance_numbers,
    parse_kept_result_name,
    parse_request_name,
    parse_work_file_name,
)
from dsgmigd.spool.layout import SpoolLayout, WorkKind

REPO = RepoName("co.uk_2")
LAYOUT = SpoolLayout("/spool")


def test_a_path_is_parsed_back_into_the_names_it_was_built_from() -> None:
    base = os.path.basename
    assert parse_request_name(base(LAYOUT.request(REPO))) == REPO
    assert parse_claim_name(base(LAYOUT.claim(REPO, 7))) == (REPO, 7)
    assert parse_kept_result_name(base(LAYOUT.kept_result(REPO, "an-id"))) == (REPO, "an-id")
    assert parse_instance_numbers([base(LAYOUT.instance_lock(7)), "8.json"]) == {7}


@pytest.mark.parametrize(
    ("kind", "is_under_lock"),
    [
        ("claim", True),
        ("show", True),
        ("discrepancies", True),
        ("verified", True),
        ("result", False),
    ],
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
        LAYOUT.verified_result(REPO),
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


@pytest.mark.parametrize(
    "name", ["ledger.jsonl", "SV.json", ".id.json", "SV.a_b.json", "SV.id.tmp"]
)
def test_what_else_lies_beside_the_results_is_none(name: str) -> None:
    assert parse_kept_result_name(name) is None


@pytest.mark.parametrize("kind", ["verified", "foreground"])
def test_a_command_in_the_foreground_writes_as_instance_0(kind: WorkKind) -> None:
    file = parse_work_file_name(os.path.basename(LAYOUT.work_file(REPO, kind, 0)))
    assert file == WorkFile(kind, 0, REPO)
    assert file.is_under_the_repository_lock
    assert parse_work_file_name("a b.foreground.0") is None
