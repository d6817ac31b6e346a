"""submit and status."""

import json
from pathlib import Path

from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.spool import Spool
from tests.unit.cli.commands import run


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
    assert "already queued" in result.output


def test_submit_all_drops_one_request_for_each_repository_and_names_the_rest(config: Path) -> None:
    for name in ("A bad\nname", "ZZ"):
        (config.parent / "source" / name / "s1").mkdir(parents=True)

    result = run(config, "submit", "--all")

    assert result.exit_code == 3
    assert "A bad\\nname: not submitted: 'A bad\\nname' is not a repository name" in result.output
    assert "empty: not submitted: " in result.output
    names = {path.name for path in (config.parent / "spool").glob("*.request")}
    assert names == {"SV.request", "CO.request", "ZZ.request"}


def test_a_name_that_is_none_does_not_stop_the_others(config: Path) -> None:
    result = run(config, "submit", "SV", "SV.request", "CO")

    assert result.exit_code == 2
    assert "SV.request: not submitted:" in result.output
    assert "write SV, not SV.request" in result.output
    assert {path.name for path in (config.parent / "spool").glob("*.request")} == {
        "SV.request",
        "CO.request",
    }


def test_submit_all_is_quiet_where_everything_is_a_repository(config: Path) -> None:
    (config.parent / "source/empty").rmdir()

    assert run(config, "submit", "--all").exit_code == 0


def test_status_shows_what_waits_and_that_nobody_works(config: Path) -> None:
    run(config, "submit", "SV")

    assert run(config, "status").output == "no instance is running\nwaiting: SV\n"
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


def test_status_shows_what_is_paused_and_what_waits_because_of_it(config: Path) -> None:
    for repo in ("SV", "CO"):
        run(config, "submit", repo)
    run(config, "pause", "SV")
    run(config, "pause", "--instance", "2")

    assert (
        "paused: instance 2, SV\nwaiting because of the pause: SV\n" in run(config, "status").output
    )
    paused = {"all": False, "instances": [2], "repositories": ["SV"], "waiting": ["SV"]}
    assert json.loads(run(config, "status", "--json").output)["paused"] == paused


def test_a_claim_of_an_instance_that_does_not_run_is_interrupted(config: Path) -> None:
    run(config, "submit", "SV")
    spool = Spool(str(config.parent / "spool"), 1)
    spool.prepare()
    spool.instances.lock().release()
    claim = claim_request(spool, "SV")
    assert isinstance(claim, Claim)
    claim.lock.release()

    told = run(config, "status").output
    assert "interrupted: SV, continues when an instance starts" in told
