"""packaging/debian says the same as pyproject.toml and the code."""

import re
import stat
import tomllib
from pathlib import Path

import pytest

from dsgmigd import __version__
from dsgmigd.spool.spool import Spool

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging" / "debian"


def field(name: str) -> list[str]:
    """Return the packages that a field of debian/control names first, without versions."""
    found = re.search(rf"^{name}:(.*(?:\n .*)*)", (DEBIAN / "control").read_text(), re.MULTILINE)
    assert found
    return [package.split()[0] for package in found[1].split(",")]


def dependencies() -> list[str]:
    """Return the Debian package of every Python package that dsgmigd needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [one.removeprefix("python-") for one in project["dependencies"]]
    names = [re.split(r"[^A-Za-z0-9]", one)[0].lower() for one in required]
    return sorted(f"python3-{'yaml' if name == 'pyyaml' else name}" for name in names)


def test_the_changelog_begins_with_this_version() -> None:
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"dsgmigd ({__version__}) "), "write a new entry"


def test_the_build_has_all_that_the_command_imports() -> None:
    """It runs the command, to let it write the completions."""
    assert [one for one in dependencies() if one not in field("Build-Depends")] == []


@pytest.mark.parametrize("argument", ["test", "package"])
def test_the_requirements_are_installed_for_development_too(argument: str) -> None:
    script = (ROOT / "packaging/quickstart/install-requirements").read_text()
    words = script.split()
    assert [one for one in dependencies() if one not in script] == []
    assert f"{argument})" in words
    if argument == "package":
        tools = {"debhelper", *field("Build-Depends")} - {"debhelper-compat"}
        assert [one for one in tools if not one.startswith("dh-seq") and one not in script] == []


def test_the_spool_that_is_installed_is_the_one_that_the_code_makes(tmp_path: Path) -> None:
    """What the group could make before the first start is there already."""
    lines = [
        line.split()
        for line in (ROOT / "systemd/dsgmigd.tmpfiles").read_text().splitlines()
        if not line.startswith("#")
    ]
    spool = lines[0][1]
    assert lines[0] == ["d", "/var/spool/dsgmigd", "3730", "root", "dsgmigd", "-"]

    Spool(str(tmp_path)).prepare()
    made = {
        f"{spool}/{path.relative_to(tmp_path)}": f"{stat.S_IMODE(path.stat().st_mode):04o}"
        for path in tmp_path.rglob("*")
        if path.is_dir()
    }

    assert {line[1]: line[2] for line in lines[1:]} == made
    assert {(line[0], *line[3:]) for line in lines[1:]} == {("d", "root", "root", "-")}
