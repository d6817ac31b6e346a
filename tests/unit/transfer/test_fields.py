"""Attributes of commands that cannot be right."""

import pytest

from dsgmigd.errors import (
    StreamCorrupt,
)
from dsgmigd.source.send_stream import Command, Kind
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World


@pytest.mark.parametrize(
    "path",
    [
        b"../escaped",
        b"a/../../escaped",
        b"..",
        b"a\0b",
        b"",
        b"/a",
        b"a/",
        b"a//b",
        b"./.snap",
        b".",
    ],
)
def test_a_path_that_leads_out_of_the_tree_is_corrupt(world: World, path: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="is not below the snapshot"):
        world.replay(send.make_file(path))
    assert not (world.root.parent / "escaped").exists()


def test_a_command_that_lacks_an_attribute_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="RENAME lacks the attribute PATH_TO"):
        world.replay(send.command(Kind.RENAME, b"f"))


@pytest.mark.parametrize(
    "command",
    [
        send.write(b"f", b"x", 2**63),
        send.truncate(b"f", 2**64 - 1),
        send.command(Kind.CHOWN, b"f", uid=2**40, gid=0),
        send.command(Kind.MKNOD, b"n", mode=2**63, rdev=0),
        send.command(Kind.CHMOD, b"f", mode=b"\xff" * 40),
        send.command(Kind.UTIMES, b"f", atime=b"\x7f" * 12, mtime=b"\x7f" * 40),
        send.clone(b"f", b"f", send.OWN_UUID, at=0, origin_at=2**63, size=1),
        send.make_symlink(b"l", b"a\0b"),
    ],
)
def test_a_value_that_no_system_call_accepts_is_corrupt(world: World, command: Command) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="cannot be applied"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"
