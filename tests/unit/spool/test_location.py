"""Where a spool may lie: the rules for every kind of place, and the looking at real ones."""

import errno
import os
import stat
from pathlib import Path

import pytest

from dsgmigd.errors import SpoolReplaced, SpoolUnusable
from dsgmigd.host.ownership import Component
from dsgmigd.spool import location as spool_place
from dsgmigd.spool.location import check_place, held_directory, judge_place
from dsgmigd.spool.spool import Spool
from tests.unit.failing import failing

EXT4 = 0xEF53
US = 900
SOMEBODY = 1000


def way(
    *, mode: int = 0o755, uid: int = 0, kind: int = stat.S_IFDIR, spool_mode: int = 0o3730
) -> list[Component]:
    """Return the way / → /srv → /srv/spool; the arguments are about /srv."""
    return [
        Component("/", stat.S_IFDIR | 0o755, 0),
        Component("/srv", kind | mode, uid),
        Component("/srv/spool", stat.S_IFDIR | spool_mode, US),
    ]


@pytest.mark.parametrize("magic", [EXT4, 0x58465342, 0x9123683E, 0x2FC12FC1, 0xF2F52010])
def test_a_local_file_system_is_taken_without_a_word(magic: int) -> None:
    assert judge_place(way(), magic, US) is None


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        (0x01021994, "tmpfs: requests and results do not survive a reboot"),
        (0x858458F6, "ramfs: requests and results do not survive a reboot"),
        (0x794C7630, "overlayfs: requests and results last only as long as its upper layer"),
    ],
)
def test_what_is_local_but_may_be_gone_tomorrow_is_taken_with_a_warning(
    magic: int, words: str
) -> None:
    warning = judge_place(way(), magic, US)

    assert warning is not None
    assert words in warning


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (0x6969, "NFS"),
        (0xFF534D42, "CIFS"),
        (0xFE534D42, "SMB"),
        (0x65735546, "FUSE"),
        (0x01021997, "9p"),
        (0x4D44, "0x4d44"),
    ],
)
def test_any_other_file_system_is_refused_by_name_or_number(magic: int, name: str) -> None:
    with pytest.raises(SpoolUnusable, match=f"is on .*{name}.*not a local") as caught:
        judge_place(way(), magic, US)

    assert "install -d -m 3730 -g dsgmigd" in caught.value.hint


@pytest.mark.parametrize(
    "components",
    [
        way(),
        way(uid=US),
        way(mode=0o1777),
        way(spool_mode=0o1777),
        way(spool_mode=0o700),
        way(spool_mode=0o755),
    ],
)
def test_where_only_root_and_the_daemon_can_exchange_anything_a_spool_is_safe(
    components: list[Component],
) -> None:
    assert judge_place(components, EXT4, US) is None


@pytest.mark.parametrize(
    ("components", "words", "command"),
    [
        (way(kind=stat.S_IFLNK), "/srv is a symbolic link", "realpath /srv"),
        (way(kind=stat.S_IFREG), "/srv is not a directory", "mv -T -- /srv /srv.old"),
        (way(uid=SOMEBODY), "/srv belongs to user 1000", "chown root /srv"),
        (way(mode=0o777), "/srv is group- or world-writable", "chmod +t /srv"),
        (way(mode=0o775), "/srv is group- or world-writable", "chmod go-w /srv"),
        (way(spool_mode=0o777), "/srv/spool is group- or world-writable", "chmod +t /srv/spool"),
        (way(spool_mode=0o2770), "/srv/spool is group- or world-writable", "chmod +t /srv/spool"),
    ],
)
def test_where_a_user_could_exchange_something_the_spool_is_refused_and_the_hint_mends_it(
    components: list[Component], words: str, command: str
) -> None:
    with pytest.raises(SpoolUnusable, match=words) as caught:
        judge_place(components, EXT4, US)

    assert command in caught.value.hint


def test_a_command_in_a_hint_survives_an_odd_path() -> None:
    odd = [*way()[:1], Component("/a b;c", stat.S_IFDIR | 0o777, 0)]

    with pytest.raises(SpoolUnusable) as caught:
        judge_place(odd, EXT4, US)

    assert "chmod +t '/a b;c'" in caught.value.hint


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


def test_a_spool_below_a_link_is_refused(directory: Path) -> None:
    link = directory.with_name("link")
    link.symlink_to(directory.parent)

    with pytest.raises(SpoolUnusable, match=f"{link} is a symbolic link"):
        check_place(str(link / "spool"))


def test_a_spool_that_others_may_write_without_the_sticky_bit_is_refused_until_it_has_it(
    directory: Path,
) -> None:
    directory.chmod(0o777)
    with pytest.raises(SpoolUnusable, match="without the sticky bit"):
        Spool(str(directory)).prepare()
    assert list(directory.iterdir()) == []

    directory.chmod(0o1777)
    Spool(str(directory)).prepare()


def test_a_spool_that_cannot_be_looked_at_says_why(directory: Path) -> None:
    with pytest.raises(SpoolUnusable, match="cannot examine the spool"):
        check_place(str(directory / ("x" * 256)))


@pytest.mark.parametrize("name", [".dsgmigd", "rejected", ".dsgmigd/results"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_stands_in_the_place_of_our_own_directory_is_refused_and_never_followed(
    directory: Path, name: str, kind: str
) -> None:
    elsewhere = directory.with_name("elsewhere")
    planted = directory / name
    planted.parent.mkdir(exist_ok=True)
    if kind == "file":
        planted.touch()
    else:
        planted.symlink_to(elsewhere)
    if kind == "link":
        elsewhere.mkdir()

    with pytest.raises(SpoolUnusable, match="is not a directory") as caught:
        Spool(str(directory)).prepare()

    assert f"mv -T -- {planted} {planted}.foreign" in caught.value.hint
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []
    planted.rename(f"{planted}.foreign")
    Spool(str(directory)).prepare()


def test_a_file_system_that_cannot_rename_without_replacing_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(old: str, new: str) -> None:
        raise OSError(22, "Invalid argument", old, None, new)

    monkeypatch.setattr(spool_place, "rename_noreplace", refuse)

    with pytest.raises(SpoolUnusable, match="cannot rename without replacing: Invalid argument"):
        Spool(str(directory)).prepare()
    assert list((directory / ".dsgmigd/work").iterdir()) == []


def test_a_held_directory_is_found_wherever_it_is_moved(directory: Path) -> None:
    moved = directory.with_name("moved")
    with held_directory(str(directory)) as place:
        assert place.is_in_place()
        directory.rename(moved)
        assert not place.is_in_place()
        directory.mkdir()
        assert not place.is_in_place()
        Path(place.path, "file").touch()
        with pytest.raises(SpoolReplaced, match="was moved, removed, or mounted over"):
            place.check()

    assert (moved / "file").exists()
    assert list(directory.iterdir()) == []


def test_a_name_that_cannot_be_looked_at_is_no_proof_of_a_move(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_directory(str(directory)) as place:
        monkeypatch.setattr(os, "stat", failing(errno.EIO))
        assert place.is_in_place()


def test_a_directory_that_came_back_is_in_place(directory: Path) -> None:
    with held_directory(str(directory)) as place:
        directory.rename(directory.with_name("moved"))
        directory.with_name("moved").rename(directory)
        place.check()


def test_nothing_stays_open_when_a_directory_is_let_go(directory: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with held_directory(str(directory)):
        pass

    assert len(os.listdir("/proc/self/fd")) == before
