"""The configuration file: TOML in, one frozen `Config` out.

Every key has a default, so that no file is as good as an empty one. Unknown keys and impossible
values are errors that name the file, the key and the nearest valid name.

Leaving error: InvalidConfig.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dsgmigd.deferral import Retries
from dsgmigd.errors import InvalidConfig, InvalidName, InvalidRequest
from dsgmigd.names import parse_dataset_name
from dsgmigd.request import check_losses, check_verify_level, suggestion
from dsgmigd.settings import Habits, Settings

DEFAULT_PATH = "/etc/dsgmigd/dsgmigd.toml"
ENVIRONMENT_VARIABLE = "DSGMIGD_CONFIG"

_LONGEST_SECONDS = 86_400
_MOST_THREADS = 64
_MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class Config:
    """All keys, named SECTION_KEY; the comments stand in etc/dsgmigd.toml."""

    spool_directory: str = "/var/spool/dsgmigd"
    spool_rescan_seconds: int = 30
    source_root: str = "/var/repos/btrsnap"
    source_engine: str = "auto"
    source_send_protocol: str | int = "auto"
    target_parent: str = "zsd"
    target_staging: str = ".dsgmigd"
    target_existing: str = "refuse"
    target_allow_loss: tuple[str, ...] = ()
    verify_level: str = "complete"
    verify_hash_threads: int = 2
    worker_maximum_attempts: int = 3
    worker_stop_seconds: int = 8
    worker_stall_seconds: int = 900
    retry_first_seconds: int = 30
    retry_longest_seconds: int = 900
    retry_for_seconds: int = 86_400

    def settings(self) -> Settings:
        """Return what migrations need."""
        protocol = self.source_send_protocol
        return Settings(
            source_root=self.source_root,
            target_parent=parse_dataset_name(self.target_parent),
            area=parse_dataset_name(f"{self.target_parent}/{self.target_staging}"),
            engine=self.source_engine,
            send_protocol=protocol if isinstance(protocol, int) else None,
            replace_existing=self.target_existing == "replace",
            verify_level=check_verify_level("level", self.verify_level),
            allow_loss=check_losses("allow_loss", list(self.target_allow_loss)),
            hash_threads=self.verify_hash_threads,
        )

    def habits(self) -> Habits:
        """Return what workers need."""
        return Habits(
            rescan_seconds=self.spool_rescan_seconds,
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
        """Return the configuration as a file that says the same."""
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
    """Return the configuration in `path`, else in $DSGMIGD_CONFIG, else in /etc, else defaults.

    Only the file in /etc may be missing.
    """
    chosen = path or environment.get(ENVIRONMENT_VARIABLE)
    if chosen is None and not os.path.exists(DEFAULT_PATH):
        return Config()
    chosen = chosen or DEFAULT_PATH
    try:
        with open(chosen, "rb") as file:
            document = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            f"{chosen}: {error}", hint="an example with all keys is etc/dsgmigd.toml"
        ) from error
    return _parse(document, chosen)


def _parse(document: Mapping[str, Any], path: str) -> Config:
    sections = {name.partition("_")[0] for name in _CHECKS}
    values = {}
    for section, table in document.items():
        if section not in sections or not isinstance(table, dict):
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
            except (ValueError, InvalidName, InvalidRequest) as error:
                raise _invalid(path, f"[{section}] {error}") from error
    return Config(**values)


def _invalid(path: str, message: str) -> InvalidConfig:
    return InvalidConfig(
        f"{path}: {message}", hint="`dsgmigd config show` prints every key with its value"
    )


def _directory(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{key!r} must be an absolute path")
    return os.path.normpath(value)


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
        raise ValueError(f"{key!r} is {value!r}, it must be one of {known}")

    return check


def _dataset(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key!r} must be the name of a ZFS file system")  # noqa: TRY004
    return parse_dataset_name(value)


def _child(key: str, value: object) -> str:
    if not isinstance(value, str) or "/" in value or not value.startswith("."):
        raise ValueError(f"{key!r} must be one name that starts with a dot: no repository has it")
    parse_dataset_name(f"pool/{value}")
    return value


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "spool_directory": _directory,
    "spool_rescan_seconds": _number(1, _LONGEST_SECONDS),
    "source_root": _directory,
    "source_engine": _one_of("auto", "rsync"),
    "source_send_protocol": _one_of("auto", 1, 2),
    "target_parent": _dataset,
    "target_staging": _child,
    "target_existing": _one_of("refuse", "replace"),
    "target_allow_loss": check_losses,
    "verify_level": check_verify_level,
    "verify_hash_threads": _number(1, _MOST_THREADS),
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
    # A TOML basic string escapes like JSON; paths and names hold nothing that differs.
    return str(value) if isinstance(value, int) else '"' + str(value).replace('"', '\\"') + '"'
