"""The configuration file."""

from dataclasses import asdict
from pathlib import Path

import pytest

from dsgmigd.config import Config, read_config
from dsgmigd.errors import InvalidConfig

EXAMPLE = Path(__file__).parents[2] / "etc" / "dsgmigd.toml"


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "dsgmigd.toml"
    path.write_text(text)
    return read_config(str(path))


def test_the_commented_example_says_every_default() -> None:
    assert read_config(str(EXAMPLE)) == Config()


def test_every_key_of_the_example_has_a_comment_before_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    keys = [index for index, line in enumerate(lines) if " = " in line and not line.startswith("#")]

    assert len(keys) == len(asdict(Config()))
    assert all(lines[index - 1].startswith("#") for index in keys)


def test_without_any_file_the_defaults_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dsgmigd.config.DEFAULT_PATH", str(tmp_path / "none"))

    assert read_config(None, {}) == Config()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")

    with pytest.raises(InvalidConfig, match="No such file"):
        read_config(missing, {})
    with pytest.raises(InvalidConfig, match="No such file"):
        read_config(None, {"DSGMIGD_CONFIG": missing})


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        [target]
        parent = "tank/repos"
        allow_loss = ["xattr"]
        [source]
        root = '/srv/a "quoted" path'
        send_protocol = 2
        """,
    )

    assert read(tmp_path, config.to_toml()) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[spol]", r"unknown section \[spol\]; did you mean 'spool'"),
        ("[spool]\ndirectroy = '/x'", "unknown key 'directroy'.*did you mean 'directory'"),
        ("spool = 3", r"unknown section \[spool\]"),
        ("[spool]\ndirectory = 'relative'", "must be an absolute path"),
        ("[spool]\nrescan_seconds = 0", "must be a whole number from 1 to"),
        ("[spool]\nrescan_seconds = true", "must be a whole number"),
        ("[source]\nengine = 'tar'", "must be one of 'auto', 'rsync'"),
        ("[source]\nsend_protocol = 3", "must be one of 'auto', 1, 2"),
        ("[target]\nparent = 'a@b'", "is not the name of a ZFS file system"),
        ("[target]\nparent = 3", "must be the name of a ZFS file system"),
        ("[target]\nstaging = 'staging'", "must be one name that starts with a dot"),
        ("[target]\nstaging = '..'", "is not the name of a ZFS file system"),
        ("[target]\nexisting = 'destroy'", "must be one of 'refuse', 'replace'"),
        ("[target]\nallow_loss = ['xatr']", "no known loss: 'xatr'; did you mean 'xattr'"),
        ("[verify]\nlevel = 'compleet'", "did you mean 'complete'"),
        ("[verify", "Expected ']'"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_the_nearest_valid_name(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(InvalidConfig, match=words) as caught:
        read(tmp_path, text)

    assert caught.value.message.startswith(str(tmp_path / "dsgmigd.toml"))


def test_migrations_get_what_the_file_says(tmp_path: Path) -> None:
    settings = read(
        tmp_path, "[target]\nparent = 'tank'\nexisting = 'replace'\n[verify]\nlevel = 'structure'"
    ).settings()

    assert settings.area == "tank/.dsgmigd"
    assert settings.replace_existing
    assert settings.verify_level == "structure"
    assert settings.send_protocol is None
