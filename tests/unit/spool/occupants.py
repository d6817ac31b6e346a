"""What a user may put under a name in the spool, in place of a regular file of his own."""

import os
from pathlib import Path


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_symlink(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("{}")
    path.symlink_to(secret)


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def make_hard_link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("{}")
    path.hardlink_to(secret)


def make_huge(path: Path) -> None:
    path.write_bytes(b" " * (1 << 20))
