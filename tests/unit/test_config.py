"""The configuration file."""

import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.config import Config, read_config
from dsgmigd.errors import InvalidConfig

NOBODY = 65534
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
        ("spool = 3", r"'spool' must be in a section: \[custody\] or .* or \[spool\]"),
        ("parent = 'zsd'", r"'parent' must be in a section: \[target\]"),
        ("[spool]\ndirectory = 'relative'", "must be an absolute path"),
        ("[spool]\nrescan_seconds = 0", "must be a whole number from 1 to"),
        ("[spool]\nrescan_seconds = true", "must be a whole number"),
        ("[source]\nengine = 'tar'", "must be one of 'auto', 'rsync'"),
        ("[source]\nsend_protocol = 3", "must be one of 'auto', 1, 2, 'compressed'"),
        ("[target]\nparent = 'a@b'", "is not the name of a ZFS file system"),
        ("[target]\nparent = 3", "must be the name of a ZFS file system"),
        ("[target]\nstaging = 'staging'", "must be one name that starts with a dot"),
        ("[target]\nstaging = '..'", "is not the name of a ZFS file system"),
        ("[target]\nexisting = 'destroy'", "must be one of 'refuse', 'replace'"),
        (
            "[target]\nallow_loss = ['xatr']",
            "unknown loss 'xatr' in 'allow_loss'; did you mean 'xattr'",
        ),
        ("[verify]\nlevel = 'compleet'", "did you mean 'complete'"),
        ("[verify", "Expected ']'"),
        ("[target]\nparent = zsd", r'line 2: texts need quotes: parent = "zsd"$'),
        ("[spool]\ndirectory = /a/b c # x", r'line 2: texts need quotes: directory = "/a/b c"$'),
        ("[target]\nallow_loss = [xattr, acl]", r'allow_loss = \["xattr", "acl"\]$'),
        ("[worker]\nstop_seconds = 30s", "at line 2"),
        ("[target]\nparent = 'zsd", "at end of document"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_the_nearest_valid_name(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(InvalidConfig, match=words) as caught:
        read(tmp_path, text)

    assert caught.value.message.startswith(str(tmp_path / "dsgmigd.toml"))
    assert caught.value.hint.endswith("all keys: man dsgmigd.toml")


def test_the_hint_of_a_key_comes_before_the_one_that_is_always_true(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, "[target]\nparent = 'a@b'")

    assert "[target] parent: 'a@b' is not" in caught.value.message
    assert caught.value.hint.startswith("write POOL or POOL/PATH")
    assert caught.value.hint.endswith("; all keys: man dsgmigd.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[spool]".encode("utf-8-sig"), "begins with a byte order mark"),
        ("[spool]".encode("utf-16"), "is not UTF-8 text"),
        (b"# \xff", "is not UTF-8 text"),
    ],
)
def test_another_encoding_than_plain_utf_8_is_named(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "dsgmigd.toml"
    path.write_bytes(content)

    with pytest.raises(InvalidConfig, match=f"^{path} {words}") as caught:
        read_config(str(path))

    assert caught.value.hint.startswith("save it as UTF-8 without")


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=f"^cannot read {tmp_path}: Is a directory$") as caught:
        read_config(str(tmp_path))

    assert caught.value.hint == f"look at it: ls -ld {tmp_path}"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_path_with_any_character_can_be_read_again(text: str) -> None:
    config = Config(spool_directory=os.path.normpath(f"/{text}"))

    with tempfile.TemporaryDirectory() as directory:
        assert read(Path(directory), config.to_toml()) == config


def words_for_a_stranger(path: Path | None) -> str:
    """Return what a user without any right is told when his command reads `path`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            read_config(str(path) if path else None, {})
        except InvalidConfig as error:
            os.write(writing, f"{error.message}\n{error.hint}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, encoding="utf-8") as file:
        return file.read()


def test_who_may_not_read_the_file_learns_what_root_has_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as directory:  # strangers cannot enter tmp_path
        path = Path(directory) / "closed dir" / "dsgmigd.toml"
        path.parent.mkdir()
        path.write_text("")
        path.chmod(0)
        Path(directory).chmod(0o755)
        path.parent.chmod(0o755)
        told = f"you may not read {path}\nask root for: "
        assert words_for_a_stranger(path) == f"{told}chmod o+r '{path}'"
        path.parent.chmod(0)
        assert words_for_a_stranger(path) == f"{told}chmod o+x '{path.parent}'"
        # The defaults are for a file that does not exist, not for one that cannot be seen.
        monkeypatch.setattr("dsgmigd.config.DEFAULT_PATH", str(path))
        assert words_for_a_stranger(None) == f"{told}chmod o+x '{path.parent}'"
        path.parent.chmod(0o755)


def test_migrations_get_what_the_file_says(tmp_path: Path) -> None:
    settings = read(
        tmp_path, "[target]\nparent = 'tank'\nexisting = 'replace'\n[verify]\nlevel = 'structure'"
    ).settings()

    assert settings.area == "tank/.dsgmigd"
    assert settings.replace_existing
    assert settings.verify_level == "structure"
    assert settings.send_protocol is None


@pytest.mark.parametrize("protocol", [1, 2, "compressed"])
def test_a_protocol_of_the_send_stream_is_handed_on(tmp_path: Path, protocol: int | str) -> None:
    config = read(tmp_path, f"[source]\nsend_protocol = {protocol!r}")
    assert config.settings().send_protocol == protocol
    assert read(tmp_path, config.to_toml()) == config
