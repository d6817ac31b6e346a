"""The configuration file: TOML in, one frozen `Config` out.

Every key has a default, so a missing file is the same as an empty one. An unknown key or an invalid
value is an error that names the file, the key and the nearest valid name.

Raises: InvalidConfig.
"""

import codecs
import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from dsgmigd.errors import InvalidConfig, InvalidName, InvalidRequest
from dsgmigd.migration.job import Settings
from dsgmigd.names import parse_dataset_name
from dsgmigd.request import (
    Evidence,
    check_evidence,
    check_loosenings,
    check_losses,
    check_verify_level,
    suggestion,
)
from dsgmigd.service.policy import Retries, WorkerSettings
from dsgmigd.source.btrfs_send import SendProtocol

DEFAULT_PATH = "/etc/dsgmigd/dsgmigd.toml"
ENVIRONMENT_VARIABLE = "DSGMIGD_CONFIG"

_ALL_KEYS = "all keys: man dsgmigd.toml"
_TOML_LINE = re.compile(r"at line ([0-9]+)")
# A key with a text, or a list of texts, that has no quotes.
_UNQUOTED = re.compile(r"\s*([\w-]+)\s*=\s*([A-Za-z/~.][^\"'#]*?|\[[^\"'#]*\])\s*(#.*)?")

_LONGEST_SECONDS = 86_400
_MOST_THREADS = 64
_MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class Config:
    """All keys, named SECTION_KEY; etc/dsgmigd.toml explains each of them."""

    spool_directory: str = "/var/spool/dsgmigd"
    spool_rescan_seconds: float = WorkerSettings.rescan_seconds
    spool_members_may: tuple[str, ...] = WorkerSettings.members_may
    source_root: str = "/var/repos/btrsnap"
    source_engine: str = Settings.engine
    source_send_protocol: Literal["auto"] | SendProtocol = Settings.send_protocol or "auto"
    target_parent: str = "zsd"
    target_staging: str = ".dsgmigd"
    target_existing: str = "replace" if Settings.replace_existing else "refuse"
    target_allow_loss: tuple[str, ...] = Settings.allow_loss
    verify_level: str = Settings.verify_level
    verify_hash_threads: int = Settings.hash_threads
    custody_evidence: Evidence = Settings.evidence
    custody_signing_key: str = Settings.signing_key or ""
    worker_maximum_attempts: int = WorkerSettings.maximum_attempts
    worker_stop_seconds: float = WorkerSettings.stop_seconds
    worker_stall_seconds: float = WorkerSettings.stall_seconds
    retry_first_seconds: int = Retries.first_seconds
    retry_longest_seconds: int = Retries.longest_seconds
    retry_for_seconds: int = Retries.for_seconds

    def settings(self) -> Settings:
        """Return what migrations need."""
        protocol = self.source_send_protocol
        return Settings(
            source_root=self.source_root,
            target_parent=parse_dataset_name(self.target_parent),
            area=parse_dataset_name(f"{self.target_parent}/{self.target_staging}"),
            engine=self.source_engine,
            send_protocol=None if protocol == "auto" else protocol,
            replace_existing=self.target_existing == "replace",
            verify_level=check_verify_level("level", self.verify_level),
            allow_loss=check_losses("allow_loss", list(self.target_allow_loss)),
            hash_threads=self.verify_hash_threads,
            evidence=self.custody_evidence,
            signing_key=self.custody_signing_key or None,
        )

    def worker_settings(self) -> WorkerSettings:
        """Return what workers need."""
        return WorkerSettings(
            rescan_seconds=self.spool_rescan_seconds,
            members_may=check_loosenings("members_may", list(self.spool_members_may)),
            stop_seconds=self.worker_stop_seconds,
            maximum_attempts=self.worker_maximum_attempts,
            stall_seconds=self.worker_stall_seconds,
            retries=Retries(
                first_seconds=self.retry_first_seconds,
                longest_seconds=self.retry_longest_seconds,
                for_seconds=self.retry_for_seconds,
            ),
        )

    def to_toml(self) -> str:
        """Return the configuration as the text of a configuration file."""
        lines: list[str] = []
        section = ""
        for name, value in asdict(self).items():
            this_section, _, key = name.partition("_")
            if this_section != section:
                section = this_section
                lines += ([""] if lines else []) + [f"[{section}]"]
            lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines) + "\n"


def read_config(path: str | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration in `path`, or else in $DSGMIGD_CONFIG, or else in /etc.

    Only the file in /etc may be missing; then the defaults are returned.
    """
    named = path or environment.get(ENVIRONMENT_VARIABLE)
    chosen = named or DEFAULT_PATH
    try:
        with open(chosen, "rb") as file:
            content = file.read()
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError | NotADirectoryError):
            return Config()
        raise _unreadable(chosen, error) from error
    return _parse(_read_toml(content, chosen), chosen)


def _unreadable(path: str, error: OSError) -> InvalidConfig:
    if isinstance(error, PermissionError):
        return InvalidConfig(f"you may not read {path}", hint=f"ask root for: {_permit(path)}")
    hint = f"create it, or correct --config or ${ENVIRONMENT_VARIABLE}"
    if not isinstance(error, FileNotFoundError):
        hint = f"look at it: ls -ld {shlex.quote(path)}"
    return InvalidConfig(f"cannot read {path}: {error.strerror}", hint=hint)


def _permit(path: str) -> str:
    """Return the command that lets other users read a file, or enter the first closed directory."""
    parts = os.path.abspath(path).split("/")
    above = ["/".join(parts[:count]) or "/" for count in range(1, len(parts))]
    for directory in above:
        if not os.access(directory, os.X_OK):
            return f"chmod o+x {shlex.quote(directory)}"
    return f"chmod o+r {shlex.quote(path)}"


def _read_toml(content: bytes, path: str) -> dict[str, Any]:
    if content.startswith(codecs.BOM_UTF8):
        raise InvalidConfig(
            f"{path} begins with a byte order mark", hint="save it as UTF-8 without one"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig(
            f"{path} is not UTF-8 text: {error}",
            hint="save it as UTF-8 without a byte order mark",
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(path, _why_no_toml(text, str(error))) from error


def _why_no_toml(text: str, message: str) -> str:
    """Return what is wrong with a text that the TOML parser refused with `message`."""
    found = _TOML_LINE.search(message)
    number = int(found[1]) if found else 0
    unquoted = _UNQUOTED.fullmatch(text.split("\n")[number - 1]) if found else None
    if unquoted is None:
        return message
    key, value = unquoted[1], unquoted[2]
    items = re.sub(r"[^\s,\[\]]+", lambda word: _toml(word[0]), value)
    quoted = items if value.startswith("[") else _toml(value)
    return f"line {number}: texts need quotes: {key} = {quoted}"


def _parse(document: Mapping[str, Any], path: str) -> Config:
    sections = {name.partition("_")[0] for name in _CHECKS}
    values = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            raise _invalid(path, f"{section!r} must be in a section: {_sections_of(section)}")
        if section not in sections:
            raise _invalid(path, f"unknown section [{section}]{suggestion(section, sections)}")
        keys = {
            name.removeprefix(f"{section}_") for name in _CHECKS if name.startswith(f"{section}_")
        }
        for key, value in table.items():
            if key not in keys:
                raise _invalid(path, f"unknown key {key!r} in [{section}]{suggestion(key, keys)}")
            name = f"{section}_{key}"
            try:
                values[name] = _CHECKS[name](key, value)
            except InvalidName as error:
                raise _invalid(path, f"[{section}] {key}: {error}", error.hint) from error
            # The hint of an InvalidRequest is about the file of a request.
            except (ValueError, InvalidRequest) as error:
                raise _invalid(path, f"[{section}] {error}") from error
    return Config(**values)


def _sections_of(key: str) -> str:
    """Return the sections that have this key, or all sections if none has it."""
    names = {name.partition("_")[::2] for name in _CHECKS}
    found = sorted({section for section, one in names if one == key})
    return " or ".join(f"[{section}]" for section in found or sorted({one for one, _ in names}))


def _invalid(path: str, message: str, hint: str = "") -> InvalidConfig:
    return InvalidConfig(f"{path}: {message}", hint=f"{hint}; {_ALL_KEYS}" if hint else _ALL_KEYS)


def _directory(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{key!r} must be an absolute path")
    return os.path.normpath(value)


def _file(key: str, value: object) -> str:
    return "" if value == "" else _directory(key, value)


def _number(minimum: int, maximum: int) -> Callable[[str, object], int]:
    def check(key: str, value: object) -> int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not minimum <= value <= maximum:  # type: ignore[operator]
            raise ValueError(f"{key!r} must be a whole number from {minimum} to {maximum}")
        return int(value)  # type: ignore[call-overload, no-any-return]

    return check


def _one_of(*choices: str | int) -> Callable[[str, object], str | int]:
    def check(key: str, value: object) -> str | int:
        for choice in choices:
            if value == choice and isinstance(value, type(choice)):
                return choice
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{key!r} is {value!r}; it must be one of {known}")

    return check


def _dataset(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be the name of a ZFS file system")  # noqa: TRY004
    return parse_dataset_name(value)


def _child(key: str, value: object) -> str:
    if not isinstance(value, str) or "/" in value or not value.startswith("."):
        raise ValueError(f"{key!r} must be one name that starts with a dot, unlike a repository's")
    parse_dataset_name(f"pool/{value}")
    return value


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "spool_directory": _directory,
    "spool_rescan_seconds": _number(1, _LONGEST_SECONDS),
    "spool_members_may": check_loosenings,
    "source_root": _directory,
    "source_engine": _one_of("auto", "rsync"),
    "source_send_protocol": _one_of("auto", 1, 2, "compressed"),
    "target_parent": _dataset,
    "target_staging": _child,
    "target_existing": _one_of("refuse", "replace"),
    "target_allow_loss": check_losses,
    "verify_level": check_verify_level,
    "verify_hash_threads": _number(1, _MOST_THREADS),
    "custody_evidence": check_evidence,
    "custody_signing_key": _file,
    "worker_maximum_attempts": _number(1, _MOST_ATTEMPTS),
    "worker_stop_seconds": _number(1, _LONGEST_SECONDS),
    "worker_stall_seconds": _number(1, _LONGEST_SECONDS),
    "retry_first_seconds": _number(1, _LONGEST_SECONDS),
    "retry_longest_seconds": _number(1, _LONGEST_SECONDS),
    "retry_for_seconds": _number(0, 365 * _LONGEST_SECONDS),
}
assert set(_CHECKS) == {field.name for field in fields(Config)}  # noqa: S101


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int | float):
        return str(value)
    # A TOML basic string escapes like JSON, except that DEL must be escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
