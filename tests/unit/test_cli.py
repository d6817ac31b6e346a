"""The command line, as far as it goes without root: queue, configuration, usage, statuses."""

import io
import json
import sys
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner, Result

from dsgmigd import errors
from dsgmigd.claim import Claim
from dsgmigd.cli import main
from dsgmigd.cli.migration import logging_beside_progress
from dsgmigd.cli.output import exit_code, table
from dsgmigd.spool import Spool

CHECK = ("config", "check")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    for repo in ("SV-norm/s1", "CO/s1", "empty"):
        (tmp_path / "source" / repo).mkdir(parents=True)
    path = tmp_path / "dsgmigd.toml"
    path.write_text(
        f'[spool]\ndirectory = "{tmp_path}/spool"\n[source]\nroot = "{tmp_path}/source"\n'
    )
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *arguments])


def test_submit_drops_a_request_with_its_options(config: Path) -> None:
    result = run(config, "submit", "SV", "--limit", "5", "--replace")

    assert result.exit_code == 0
    dropped = json.loads((config.parent / "spool/SV.request").read_text())
    assert dropped == {"limit": 5, "replace": True}


def test_submit_without_options_drops_an_empty_file(config: Path) -> None:
    run(config, "submit", "SV")

    assert (config.parent / "spool/SV.request").read_bytes() == b""


def test_a_repository_that_waits_already_is_told_with_status_75(config: Path) -> None:
    run(config, "submit", "SV")

    result = run(config, "submit", "SV")

    assert result.exit_code == 75
    assert "waits already" in result.output


def test_submit_all_drops_one_request_for_each_repository_that_has_snapshots(config: Path) -> None:
    assert run(config, "submit", "--all").exit_code == 0

    names = {path.name for path in (config.parent / "spool").glob("*.request")}
    assert names == {"SV.request", "CO.request"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("submit",), 2, "name repositories"),
        (("submit", "SV", "--all"), 2, "name repositories"),
        (("submit", "../SV"), 2, "is not a repository name"),
        (("submit", "--", "-SV"), 2, "is not a repository name"),
        (("submit", "SV@1"), 2, "is not a repository name"),
        (("submit", "SV", "--limit", "0"), 2, "0"),
        (("nonsense",), 2, "No such command"),
        (("cancel", "../SV"), 2, "is not a repository name"),
        (("retry", "a/b"), 2, "is not a repository name"),
        (("pause", "."), 2, "is not a repository name"),
        (("pause",), 2, "name a repository"),
        (("pause", "SV", "--all"), 2, "name a repository"),
        (("resume", "--all", "--instance", "1"), 2, "name a repository"),
        (("pause", "--instance", "0"), 2, "0"),
        (("run",), 2, "--instance"),
        (("run", "--instance", "0"), 2, "0"),
        (("verify", "a/b@s1"), 2, "is not a repository name"),
        (("verify", "SV@"), 2, "is not a snapshot name"),
        (("verify", "SV@s01", "--without-source"), 2, "is not a snapshot name"),
        (("verify", "SV@s1@s2"), 2, "is not a snapshot name"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_why(
    config: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    result = run(config, *arguments)

    assert result.exit_code == status
    assert words in result.output
    assert not list((config.parent / "spool").glob("*.request"))


def test_status_shows_what_waits_and_that_nobody_works(config: Path) -> None:
    run(config, "submit", "SV")

    assert run(config, "status").output == "no instance is running\nincoming: SV\n"
    document = json.loads(run(config, "status", "--json").output)
    nothing = {"all": False, "instances": [], "repositories": [], "waiting": []}
    assert document == {
        "incoming": ["SV"],
        "claims": [],
        "deferred": [],
        "instances": [],
        "paused": nothing,
    }


def test_status_shows_each_living_instance(config: Path) -> None:
    spool = Spool(str(config.parent / "spool"), instance=2)
    spool.prepare()
    lock = spool.instances.lock()
    spool.instances.write_status({"instance": 2, "pid": 7, "status": "SV s3 copy (2/9, 1.5 MB)"})

    assert "2         7    SV s3 copy (2/9, 1.5 MB)" in run(config, "status").output
    lock.release()


def test_cancel_says_what_it_ended(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")

    result = run(config, "cancel", "SV")

    assert result.exit_code == 0
    assert "SV: the waiting request is cancelled" in result.output
    assert not (config.parent / "spool/SV.request").exists()
    assert run(config, "cancel", "SV").exit_code == 1


def test_the_control_directory_is_for_its_owner_alone(config: Path) -> None:
    run(config, "pause", "SV")

    assert (config.parent / "spool/.dsgmigd/control").stat().st_mode & 0o777 == 0o700


def test_status_shows_what_is_paused_and_what_waits_because_of_it(config: Path) -> None:
    for repo in ("SV", "CO"):
        run(config, "submit", repo)
    run(config, "pause", "SV")
    run(config, "pause", "--instance", "2")

    assert "paused: instance 2, SV\nwaiting because of that: SV\n" in run(config, "status").output
    paused = {"all": False, "instances": [2], "repositories": ["SV"], "waiting": ["SV"]}
    assert json.loads(run(config, "status", "--json").output)["paused"] == paused


def test_a_pause_is_taken_back_by_its_own_words_only(config: Path) -> None:
    run(config, "pause", "--all")

    assert run(config, "resume", "SV").output == "SV: was not paused\n"
    assert "paused: all instances\n" in run(config, "status").output
    assert run(config, "resume", "--all").output == "all instances: resumed\n"
    assert "paused" not in run(config, "status").output


def test_retry_asks_again_with_the_same_options(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")
    run(config, "cancel", "SV")

    assert run(config, "retry", "SV").exit_code == 0
    assert json.loads((config.parent / "spool/SV.request").read_text()) == {"limit": 5}
    assert run(config, "retry", "SV").exit_code == 75


def keep_result(config: Path, finished_at: str, outcome: str) -> None:
    directory = config.parent / "spool/.dsgmigd/results"
    result = {
        "request_id": finished_at,
        "outcome": outcome,
        "finished_at": finished_at,
        "request": {},
    }
    (directory / f"SV.{finished_at}.json").write_text(json.dumps(result))


def test_retry_of_what_did_not_fail_says_why_not(config: Path) -> None:
    assert "has no result yet" in run(config, "retry", "SV").output
    keep_result(config, "2001", "failed")
    (config.parent / "spool/SV.result.json").write_text('{"outcome": "failed", "request": {}}')
    keep_result(config, "2002", "done")

    result = run(config, "retry", "SV")

    assert result.exit_code == 1
    assert "ended as done" in result.output
    assert not (config.parent / "spool/SV.request").exists()


def test_retry_waits_for_nobody(config: Path) -> None:
    run(config, "pause", "SV")
    keep_result(config, "2001", "failed")
    (config.parent / "spool/SV.claim.1").touch()

    result = run(config, "retry", "SV")

    assert (result.exit_code, "is worked on now" in result.output) == (75, True)


def test_retry_of_what_has_its_result_does_not_wait_for_its_claim_to_go(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")
    spool = Spool(str(config.parent / "spool"), 1)
    spool.prepare()
    claim = spool.claim("SV")
    assert isinstance(claim, Claim)
    spool.records.begin_attempt(claim, {})
    result = {"request_id": claim.request_id, "outcome": "failed", "request": {"limit": 5}}
    assert run(config, "retry", "SV").exit_code == 75
    spool.results.publish(claim.repo, claim.request_id, result)

    assert run(config, "retry", "SV").exit_code == 0
    assert json.loads((config.parent / "spool/SV.request").read_text()) == {"limit": 5}


def test_a_missing_spool_is_a_matter_of_configuration(config: Path) -> None:
    (config.parent / "spool").rmdir()

    for arguments in (("status",), ("submit", "SV"), ("run", "--instance", "1"), CHECK):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert "does not exist" in result.output


def test_an_unsafe_spool_is_a_matter_of_configuration(config: Path) -> None:
    (config.parent / "spool").chmod(0o777)

    for arguments in (("run", "--instance", "1"), ("pause", "SV"), CHECK):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert f"chmod +t {config.parent}/spool" in result.output
    assert list((config.parent / "spool").iterdir()) == []


def test_an_invalid_configuration_ends_every_verb_with_status_78(config: Path) -> None:
    config.write_text("[spool]\ndirectroy = '/x'\n")

    for arguments in (CHECK, ("status",), ("plan", "SV")):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert "did you mean 'directory'" in result.output


def test_config_show_prints_what_config_check_accepts(config: Path) -> None:
    config.write_text(run(config, "config", "show").output)

    assert run(config, *CHECK).exit_code == 0


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_progress_line_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with logging_beside_progress():
        structlog.get_logger().error("snapshot.made")

    assert terminal.getvalue() == ""
    structlog.reset_defaults()


@pytest.mark.parametrize("verb", main.list_commands(click.Context(main)))
def test_every_verb_has_help_with_an_example(config: Path, verb: str) -> None:
    names = ["check", "show"] if verb == "config" else [None]
    for name in names:
        output = run(config, verb, *([name] if name else []), "--help").output
        assert "Example" in output


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SourceMissing, 1),
        (errors.TargetExists, 1),
        (errors.InvalidName, 2),
        (errors.InvalidRequest, 2),
        (errors.VerificationFailed, 4),
        (errors.TargetFull, 75),
        (errors.AlreadyRunning, 75),
        (errors.InvalidConfig, 78),
        (errors.SpoolUnusable, 78),
    ],
)
def test_each_kind_of_error_has_its_exit_status(
    error: type[errors.DsgmigdError], status: int
) -> None:
    assert exit_code(error("what", hint="do")) == status


def test_a_table_has_aligned_columns_without_blanks_at_the_end() -> None:
    assert table(("A", "LONG"), [("xyz", 1), ("", "")]) == "A    LONG\nxyz  1\n"
