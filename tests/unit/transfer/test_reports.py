"""What a replay reports of the contents of files."""

import os
import zlib

import pytest

from dsgmigd.host.hashing import hash_bytes
from dsgmigd.source.send_stream import Command
from dsgmigd.target.capabilities import Capabilities
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World

TIMES = send.set_times(b"f", atime=5, mtime=1_999_999_999)
NEW = (send.make_file(b"o1-1-0"), send.rename(b"o1-1-0", b"f"))
# It makes a replay close the file that it has open.
OTHER = send.change_mode(b"", 0o700)


def written(*pieces: bytes, mtime: int = 1_999_999_999) -> dict[bytes, tuple[str, int, int]]:
    """Return what has to be reported if `f` has these pieces."""
    return {b"f": (hash_bytes(*pieces), sum(map(len, pieces)), mtime)}


def test_a_new_file_that_passed_by_whole_is_reported_with_hash_size_and_time(world: World) -> None:
    world.replay(
        *NEW,
        send.write(b"f", b"one, "),
        send.write(b"f", b"two", 5),
        send.truncate(b"f", 8),
        send.change_owner(b"f", os.getuid(), os.getgid()),
        send.change_mode(b"f", 0o644),
        TIMES,
    )
    assert world.listener.contents == written(b"one, two")
    assert world.events == [("created", b"f")]


def test_an_empty_file_is_reported_too(world: World) -> None:
    world.replay(*NEW, TIMES)
    assert world.listener.contents == written()


def test_the_time_is_the_one_that_the_target_holds(world: World) -> None:
    world.replay(*NEW, TIMES, capabilities=Capabilities(subsecond_mtime=False))
    assert world.listener.contents == written(mtime=10**9)


def test_a_file_is_reported_under_the_last_name_that_it_had_while_it_was_open(
    world: World,
) -> None:
    world.replay(
        send.make_file(b"g"), send.write(b"g", b"x"), send.rename(b"g", b"f"), TIMES, OTHER
    )
    assert world.listener.contents == written(b"x")
    assert world.events[:2] == [("created", b"g"), ("renamed", b"g", b"f")]


def test_extended_attributes_of_a_file_do_not_close_it(world: World) -> None:
    try:
        os.setxattr(world.root, "user.probe", b"1")
    except OSError:
        pytest.skip("no extended attributes here")
    world.replay(*NEW, send.set_xattr(b"f", b"user.a", b"1"), send.write(b"f", b"x"), TIMES, OTHER)
    assert os.getxattr(world.root / "f", "user.a") == b"1"
    assert world.listener.contents == written(b"x")


@pytest.mark.parametrize(
    "commands",
    [
        [send.write(b"f", b"x", 1)],
        [send.write(b"f", b"xyz"), send.write(b"f", b"a")],
        [send.write(b"f", b"xyz"), send.write(b"f", b"a", 2)],
        [send.write(b"f", b"xyz"), send.write(b"f", b"a", 4)],
        [send.write(b"f", b"xyz"), send.truncate(b"f", 2)],
        [send.write(b"f", b"xyz"), send.truncate(b"f", 4)],
        [send.write(b"f", b"xyz"), send.allocate(b"f", mode=3, offset=0, size=1)],
        [send.write(b"f", b"xyz"), send.allocate(b"f", mode=0, offset=0, size=9)],
        [
            send.write(b"f", b"xyz"),
            send.clone(b"f", b"g", send.OWN_UUID, at=3, origin_at=0, size=1),
        ],
        [send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=1)],
        [send.write_encoded(b"f", zlib.compress(b"x" * 99), compression=1, length=99)],
        [send.write(b"f", b"xyz"), send.link(b"h", b"f")],
        [send.write(b"f", b"xyz"), send.link(b"h", b"g")],
    ],
)
def test_a_file_that_did_not_pass_by_whole_and_in_order_is_not_reported(
    world: World, commands: list[Command]
) -> None:
    for place in (world.root, world.parent):
        (place / "g").write_bytes(b"other")
    world.replay(*NEW, *commands, TIMES)
    assert world.listener.contents == {}


def test_a_file_without_a_time_after_its_last_byte_is_not_reported(world: World) -> None:
    world.replay(*NEW, send.write(b"f", b"x"), OTHER, send.make_file(b"g"))
    world.replay(
        send.make_file(b"h"), send.set_times(b"h", atime=1, mtime=2), send.write(b"h", b"x")
    )
    assert world.listener.contents == {}


def test_a_file_that_was_there_before_is_not_reported(world: World) -> None:
    (world.root / "f").touch()
    world.replay(send.write(b"f", b"x"), TIMES)
    assert world.listener.contents == {}


@pytest.mark.parametrize(
    "change", [send.write(b"f", b"y"), send.truncate(b"f", 0), send.write(b"f", b"y", 1)]
)
@pytest.mark.parametrize("between", [OTHER, send.make_file(b"g")])
def test_a_change_after_the_report_is_reported(
    world: World, between: Command, change: Command
) -> None:
    world.replay(*NEW, send.write(b"f", b"x"), TIMES, between, change, TIMES)
    assert world.events[0] == ("created", b"f")
    assert world.events[-1] == ("content_changed", b"f")
    assert world.listener.contents == written(b"x"), "the listener drops it: the content changed"


@pytest.mark.parametrize("between", [[OTHER], [send.make_file(b"g"), send.make_file(b"h")]])
def test_a_time_that_is_set_after_the_report_is_reported(
    world: World, between: list[Command]
) -> None:
    world.replay(*NEW, TIMES, *between, TIMES)
    assert world.events[-1] == ("times_changed", b"f")


def test_what_is_hashed_is_what_was_written_however_long_it_is(world: World) -> None:
    pieces = [os.urandom(300_000), os.urandom(131_072), b"", os.urandom(1)]
    offsets = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
    writes = [send.write(b"f", *pair) for pair in zip(pieces, offsets, strict=True)]
    world.replay(*NEW, *writes, TIMES)
    assert (world.root / "f").read_bytes() == b"".join(pieces)
    assert world.listener.contents == written(*pieces)


def test_many_writes_to_one_file_are_one_change_of_content(world: World) -> None:
    (world.root / "f").touch()
    world.replay(*(send.write(b"f", b"x", offset) for offset in range(5)))
    assert world.events == [("content_changed", b"f")]


def test_a_change_through_an_untracked_name_is_reported_by_inode_if_the_file_has_other_names(
    world: World,
) -> None:
    (world.root / ".alone").touch()
    (world.root / "a").touch()
    (world.root / ".h").hardlink_to(world.root / "a")
    inode = (world.root / ".h").stat().st_ino
    world.listener.untracked = {b".h", b".alone"}
    world.replay(send.write(b".alone", b"x"), send.write(b".h", b"x"))
    told = [event for event in world.events if event[0] == "link_group_changed"]
    assert told == [("link_group_changed", b"%d" % inode)]
