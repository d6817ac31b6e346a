"""How tests call a command."""

from pathlib import Path

from click.testing import CliRunner, Result

from dsgmigd.cli import main


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *arguments])
