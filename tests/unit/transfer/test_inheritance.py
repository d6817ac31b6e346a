"""What a directory passes on to new files does not reach them."""

import os

import pytest

from dsgmigd.source.send_stream import Kind
from tests.acls import ACL_OF_DIRECTORIES
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World, mode_of


@pytest.mark.parametrize("passed_on_by", [b"", b"d"])
def test_what_is_created_does_not_keep_the_acl_that_its_directory_passes_on(
    world: World, passed_on_by: bytes
) -> None:
    """A stream names the attributes that a file has, not those that it lacks."""
    giving = world.root / os.fsdecode(passed_on_by)
    (world.root / "d").mkdir()
    world.replay(
        send.make_directory(b"before"),
        send.set_xattr(passed_on_by, b"system.posix_acl_default", ACL_OF_DIRECTORIES),
        send.make_file(b"o1-1-0"),
        send.rename(b"o1-1-0", b"d/f"),
        send.change_mode(b"d/f", 0o640),
        send.make_directory(b"o2-1-0"),
        send.rename(b"o2-1-0", b"d/e"),
        send.make_directory(b"d/e/below"),
        send.command(Kind.MKFIFO, b"d/p"),
        send.make_file(b"at the root"),
    )
    assert os.listxattr(giving) == ["system.posix_acl_default"]
    made = [path for path in world.root.rglob("*") if path != giving]
    assert len(made) >= 6
    assert [path for path in made if os.listxattr(path, follow_symlinks=False)] == []
    assert mode_of(world.root / "d/f") == 0o640


def test_a_file_in_a_setgid_directory_gets_the_group_of_the_stream(world: World) -> None:
    (world.root / "d").mkdir()
    os.chown(world.root / "d", -1, 7 if os.geteuid() == 0 else os.getegid())
    (world.root / "d").chmod(0o2755)
    owner = (os.geteuid(), os.getegid())
    world.replay(
        send.make_file(b"o1-1-0"), send.rename(b"o1-1-0", b"d/f"), send.change_owner(b"d/f", *owner)
    )
    status = (world.root / "d/f").stat()
    assert (status.st_uid, status.st_gid) == owner
