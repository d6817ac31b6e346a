"""Random histories of few operations on few names, so that they meet; a failure is made small."""

import stat
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dsgmigd.migration.plan import Method
from tests.acls import ACL
from tests.amounts import amount, is_asked_for
from tests.integration.history import History
from tests.integration.judges import Bench

# How many, by the methods that take turns.
AMOUNTS: dict[tuple[Method, ...], str] = {
    ("send",): "DSGMIGD_HISTORIES",
    ("rsync",): "DSGMIGD_RSYNC_HISTORIES",
    ("send", "rsync"): "DSGMIGD_RSYNC_HISTORIES",
}
MOST_SNAPSHOTS = 6

# What DSG's client keeps of a file in conflict; no manifest lists it.
BACKUP = b"x~20250101T120000-0800~"
# Few names, so that operations meet; the first ones stay out of the dataset.
names = st.sampled_from(
    [
        *(b".snap", b".snap/a", b"HEAD", b"HEAD/a"),
        *(b".hidden", b".hidden/a", b"head", b"a", b"a/a", b"a/A", b"a/HEAD", b"a/\xff\n "),
        *(b"a/" + BACKUP, b"b", b"b/a", b"b/a/a", b"b/a/HEAD", b"b/HEAD", b"b/" + BACKUP + b"/a"),
    ]
)
offsets = st.sampled_from([0, 1, 4095, 4096, 8192, 100_000])
sizes = st.sampled_from([0, 1, 100, 4096, 12_288, 70_000])
blocks = st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 6))
ids = st.sampled_from([0, 1000, 2**31 + 5, 2**32 - 2])
modes = st.sampled_from([0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o000])
# Few, so that a subvolume is often there when it is to be deleted.
nested = st.sampled_from([b"a/a", b"b/a", b"n", b"b/a/a", b".hidden/a"])
# Two of these are one file at first.
files = st.sampled_from([b"a/a", b"a/HEAD", b".hidden"])
copies = st.sampled_from([b"c", b"a/b", b"b/c", b".c"])
# On both sides of two borders: of what is migrated, and of what a manifest lists.
bordering = st.sampled_from(
    [b"a/a", b"b/c", b".snap/a", b"HEAD", b".hidden", b"a/.c", b"b/c.tmp", b"a/" + BACKUP]
)
outer = st.sampled_from([b"a", b"b", b"b/a", b".hidden"])
compressions = st.sampled_from(["", "zlib", "lzo", "zstd"])
xattrs = st.sampled_from(
    [
        ("user.small", b"x"),
        ("user.empty", b""),
        ("user.large", b"y" * 3000),
        ("trusted.dsg", b"z"),
        ("system.posix_acl_access", ACL),
        ("system.posix_acl_default", ACL),
    ]
)


class Machine(RuleBasedStateMachine):
    """Lives a history; its end is the check."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.history = History(self.bench.source / uuid.uuid4().hex)

    def teardown(self) -> None:
        try:
            self.history.snapshot()
            self.bench.check(self.history)
        finally:
            self.history.delete()

    @initialize(is_received=st.booleans(), compression=compressions)
    def begin(self, compression: str, *, is_received: bool) -> None:
        if is_received:
            self.history.mark_as_received()
        if compression:
            self.history.compress(compression)
        for name in (b".snap", b"a", b"b", b"b/a"):
            self.history.do("make_directory", name)
        for name in (b".snap/a", b"a/a", b"b/HEAD", b"HEAD", b".hidden"):
            self.history.do("create", name, 20_480)
        self.history.do("link", b"a/a", b"a/HEAD")

    @precondition(lambda self: len(self.history.snapshots) < MOST_SNAPSHOTS - 1)
    @rule()
    def snapshot(self) -> None:
        self.history.snapshot()

    @rule(name=names, size=sizes)
    def create(self, name: bytes, size: int) -> None:
        self.history.do("create", name, size)

    @rule(name=names, offset=offsets, size=sizes)
    def write(self, name: bytes, offset: int, size: int) -> None:
        self.history.do("write", name, offset, size)

    @rule(name=names, size=sizes)
    def truncate(self, name: bytes, size: int) -> None:
        self.history.do("truncate", name, size)

    @rule(name=names, offset=offsets, size=sizes)
    def punch(self, name: bytes, offset: int, size: int) -> None:
        self.history.do("punch", name, offset, size)

    @rule(origin=names, name=names, place=blocks)
    def clone_range(self, origin: bytes, name: bytes, place: tuple[int, int, int]) -> None:
        self.history.do("clone_range", origin, name, place)

    @rule(origin=files, name=copies)
    def copy_by_reference(self, origin: bytes, name: bytes) -> None:
        self.history.do("copy_by_reference", origin, name)

    @rule(name=names)
    def change_case(self, name: bytes) -> None:
        self.history.do("change_case", name)

    @rule(old=names, new=names)
    def rename(self, old: bytes, new: bytes) -> None:
        self.history.do("rename", old, new)

    @rule(one=names, other=names)
    def exchange(self, one: bytes, other: bytes) -> None:
        self.history.do("exchange", one, other)

    @rule(existing=names, name=names)
    def link(self, existing: bytes, name: bytes) -> None:
        self.history.do("link", existing, name)

    @rule(existing=bordering, name=bordering)
    def link_over_border(self, existing: bytes, name: bytes) -> None:
        self.history.do("link", existing, name)

    @precondition(lambda self: len(self.history.snapshots) < MOST_SNAPSHOTS - 1)
    @rule(outside=st.sampled_from([b".snap/a", b"HEAD", b".hidden"]), inside=copies)
    def change_through_one_of_two_names(self, outside: bytes, inside: bytes) -> None:
        self.history.do("link", outside, inside)
        self.history.snapshot()
        self.history.do("write", inside, 0, 100)

    @rule(old=bordering, new=bordering)
    def rename_over_border(self, old: bytes, new: bytes) -> None:
        self.history.do("rename", old, new)

    @rule(name=bordering)
    def write_over_border(self, name: bytes) -> None:
        self.history.do("write", name, 0, 100)

    @rule(name=files)
    def replace_by_copy(self, name: bytes) -> None:
        self.history.do("replace_by_copy", name)

    @rule(name=files)
    def rewrite_keeping_times(self, name: bytes) -> None:
        self.history.do("rewrite_keeping_times", name)

    @rule(name=names)
    def unlink(self, name: bytes) -> None:
        self.history.do("unlink", name)

    @rule(name=names)
    def make_directory(self, name: bytes) -> None:
        self.history.do("make_directory", name)

    @rule(name=names, is_whole_tree=st.booleans())
    def remove_directory(self, name: bytes, *, is_whole_tree: bool) -> None:
        self.history.do("remove_tree" if is_whole_tree else "remove_directory", name)

    @rule(name=nested)
    def make_subvolume(self, name: bytes) -> None:
        self.history.do("make_subvolume", name)

    @rule(name=nested)
    def delete_subvolume(self, name: bytes) -> None:
        self.history.do("delete_subvolume", name)

    @rule(name=outer)
    def make_directory_with_subvolume(self, name: bytes) -> None:
        self.history.do("change_type", name, "directory")
        self.history.do("make_directory", name)
        self.history.do("make_subvolume", name + b"/a")

    @rule(name=outer)
    def delete_subvolume_with_directory(self, name: bytes) -> None:
        self.history.do("delete_subvolume", name + b"/a")
        self.history.do("remove_tree", name)

    @rule(old=outer, new=st.sampled_from([b"HEAD", b"b", b"c", b".hidden"]))
    def move_directory_with_subvolume(self, old: bytes, new: bytes) -> None:
        self.history.do("rename", old, new)

    @rule(name=names, reference=st.sampled_from([b"a", b"../x", b"/nowhere/file", b"\xff"]))
    def symlink(self, name: bytes, reference: bytes) -> None:
        self.history.do("symlink", name, reference)

    @rule(name=names, kind=st.sampled_from([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK]))
    def make_special(self, name: bytes, kind: int) -> None:
        self.history.do("make_special", name, kind | 0o640)

    @rule(name=names, kind=st.sampled_from(["file", "directory", "symlink"]))
    def change_type(self, name: bytes, kind: str) -> None:
        self.history.do("change_type", name, kind)

    @rule(name=names, mode=modes)
    def change_mode(self, name: bytes, mode: int) -> None:
        self.history.do("change_mode", name, mode)

    @rule(name=names, uid=ids, gid=ids)
    def change_owner(self, name: bytes, uid: int, gid: int) -> None:
        self.history.do("change_owner", name, uid, gid)

    @rule(name=outer, uid=ids, gid=ids)
    def change_owner_of_setgid_directory(self, name: bytes, uid: int, gid: int) -> None:
        self.history.do("change_mode", name, 0o2755)
        self.history.do("change_owner", name, uid, gid)
        self.history.do("change_mode", name, 0o2755)

    @rule(name=names, nanoseconds=st.sampled_from([-5, 0, 10**18 + 999_999_999, 2**62]))
    def set_times(self, name: bytes, nanoseconds: int) -> None:
        self.history.do("set_times", name, nanoseconds)

    @rule(name=names, xattr=xattrs)
    def set_xattr(self, name: bytes, xattr: tuple[str, bytes]) -> None:
        self.history.do("set_xattr", name, *xattr)

    @rule(name=names, xattr=xattrs)
    def remove_xattr(self, name: bytes, xattr: tuple[str, bytes]) -> None:
        self.history.do("remove_xattr", name, xattr[0])


@pytest.mark.sweep
@pytest.mark.parametrize("methods", AMOUNTS, ids="+".join)
def test_every_random_history_arrives_exactly(
    btrfs_root: Path, second_btrfs: Path, methods: tuple[Method, ...]
) -> None:
    histories = int(amount(AMOUNTS[methods]))
    # Always the same ones, unless somebody asks for a number, or runs this nightly: then new ones.
    is_new = is_asked_for(AMOUNTS[methods])
    source = btrfs_root / "histories"
    source.mkdir()
    Machine.bench = Bench(source, second_btrfs, methods)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=40,
            deadline=None,
            derandomize=not is_new,
            database=DirectoryBasedExampleDatabase(".hypothesis") if is_new else None,
            suppress_health_check=list(HealthCheck),
            print_blob=is_new,
        ),
    )

    assert Machine.bench.histories >= histories
    assert Machine.bench.steps > Machine.bench.histories, "no history had a second snapshot"
    source.rmdir()
