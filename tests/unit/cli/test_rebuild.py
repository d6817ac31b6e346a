"""The command rebuild: what it asks for."""

from pathlib import Path
from typing import Any

import pytest

from dsgmigd.cli import rebuild
from dsgmigd.names import SnapshotName
from dsgmigd.request import Request
from tests.unit.cli.commands import run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that the command carries out."""
    found: list[Request] = []

    def work(*words: Any, **_: object) -> None:
        found.append(words[3])

    monkeypatch.setattr(rebuild, "work", work)
    return found


@pytest.mark.parametrize(("options", "first"), [((), 1), (("--from", "s7"), 7)])
def test_it_builds_again_from_a_snapshot_on(
    tmp_path: Path, asked: list[Request], options: tuple[str, ...], first: int
) -> None:
    config = tmp_path / "dsgmigd.toml"
    config.write_text("")
    result = run(config, "rebuild", "SV", *options)
    assert result.exit_code == 0, result.output
    assert asked == [Request(rebuild_from=SnapshotName(first))]


@pytest.mark.parametrize("first", ["7", "s0", "s07", "latest"])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, asked: list[Request], first: str) -> None:
    config = tmp_path / "dsgmigd.toml"
    config.write_text("")
    result = run(config, "rebuild", "SV", "--from", first)
    assert result.exit_code == 2
    assert "must be the name of a snapshot" in result.output
    assert asked == []
