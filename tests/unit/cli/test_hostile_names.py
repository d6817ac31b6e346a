"""No command lets a name, a message or an argument control the terminal, or forge a line."""

import json
import os
from pathlib import Path

import pytest

from dsgmigd.cli import main
from dsgmigd.cli import run as run_module
from dsgmigd.names import RepoName
from dsgmigd.spool.ledger_line import Entry
from dsgmigd.spool.spool import Spool
from tests.unit.cli.commands import run
from tests.unit.dsg_series import write_series
from tests.unit.fake_zfs import FakeZfs

HOSTILE = "x\x1b]0;t\x07\x9b2J\u202e\nFORGED \udcff"
RUN = ("run", "--instance", "1")
# Every command, with a name that is ours and with one that is not.
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "submit": [("SV",), (HOSTILE,), ("--all",)],
    "status": [(), ("--json",)],
    "cancel": [("SV",), (HOSTILE,)],
    "pause": [("SV",), (HOSTILE,)],
    "resume": [("SV",), (HOSTILE,)],
    "retry": [("SV",), (HOSTILE,)],
    "plan": [("SV",), ("SV", "--json"), (HOSTILE,)],
    "migrate": [("SV",), ("SV", "--json"), (HOSTILE,)],
    "verify": [("SV",), ("SV", "--without-source"), (f"SV@{HOSTILE}",), (HOSTILE,)],
    "rebuild": [("SV",), ("SV", "--from", HOSTILE), (HOSTILE,)],
    "rollback": [("SV",), ("SV", "--to", HOSTILE), (HOSTILE,)],
    "purge": [("SV",), ("SV", HOSTILE), (HOSTILE,)],
    "log": [("SV",), (HOSTILE,)],
    "blame": [("SV", HOSTILE), ("SV", "a"), (HOSTILE, "a")],
    "doctor": [(), ("--fix",), ("--json",)],
    "repair-metadata": [("SV",), ("SV", "--dry-run"), (HOSTILE,)],
    "ledger": [("check",), ("check", "--head", HOSTILE), ("show",), ("show", "--repo", HOSTILE)],
    "custody": [
        ("export", "SV", "--to", "/"),
        ("export", HOSTILE, "--to", "/"),
        ("export", f"SV@{HOSTILE}", "--to", "/"),
        ("export", "SV", "--to", HOSTILE),
    ],
    "run": [("--instance", "1")],
    "config": [("check",), ("show",)],
}
CALLS = [(name, *arguments) for name, all_of_it in COMMANDS.items() for arguments in all_of_it]


@pytest.fixture
def hostile(tmp_path: Path, pool: FakeZfs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose directories, and everything in them, have hostile names."""
    monkeypatch.setattr(run_module, "configure_logging", lambda **_: None)
    source, spool = tmp_path / f"source {HOSTILE}", tmp_path / f"spool {HOSTILE}"
    for name in (f"SV/s1/{HOSTILE}", f"SV/s2{HOSTILE}", f"{HOSTILE}/s1", "SV-norm/s1"):
        (source / name).mkdir(parents=True)
    spool.mkdir()
    prepared = Spool(str(spool), 1)
    prepared.prepare()
    for name in (f"{HOSTILE}.request", f"CO{HOSTILE}", f".submit.{HOSTILE}"):
        (spool / name).touch()
    (Path(prepared.layout.work) / HOSTILE).touch()
    prepared.results.publish(RepoName("SV"), "id", {"outcome": HOSTILE, "request_id": "id"})
    prepared.ledger.append(Entry(HOSTILE, HOSTILE, 1, {"uid": 1, "user": HOSTILE}, HOSTILE, "id"))
    prepared.ledger.append(Entry("purge", "done", 0, what=HOSTILE, result=HOSTILE))
    pool.output("zfs", "create", "zsd/SV")
    root = pool.mountpoint("zsd/SV")
    write_series(root, {"a": "1"}, {HOSTILE.removesuffix("\udcff"): "1"})
    pool.output("zfs", "snapshot", "zsd/SV@s2")
    (root / ".dsg" / HOSTILE).touch()
    config = tmp_path / "dsgmigd.toml"
    config.write_text(f"[spool]\ndirectory = {_text(spool)}\n[source]\nroot = {_text(source)}\n")
    return config


def _text(path: Path) -> str:
    """Return a path as a TOML string, which cannot have lone surrogates."""
    os.rename(path, clean := str(path).replace("\udcff", ""))
    return json.dumps(clean).replace("\\udcff", "")


def test_every_command_is_called() -> None:
    assert set(COMMANDS) == set(main.list_commands(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: ascii(" ".join(call)))
def test_no_output_controls_a_terminal_or_forges_a_line(
    hostile: Path, call: tuple[str, ...]
) -> None:
    if call == RUN:
        lock = Spool(_spool_of(hostile), 1).instances.lock()
    result = run(hostile, *call)
    if call == RUN:
        lock.release()
    lines = result.output.split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.startswith("FORGED")] == []
    assert isinstance(result.exception, SystemExit | None), result.exc_info


def _spool_of(config: Path) -> str:
    (spool,) = config.parent.glob("spool*")
    return str(spool)
