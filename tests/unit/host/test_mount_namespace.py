"""Whether the host sees a mount, from lists of mounts as unshare(1) and systemd leave them."""

from pathlib import Path

import pytest

from dsgmigd.host import mount_namespace
from dsgmigd.host.mount_namespace import is_hidden_from_host

HOST = """\
22 1 0:21 / / rw - ext4 /dev/vda1 rw
30 22 0:30 / /pool rw shared:7 - zfs pool rw
31 30 0:31 / /pool/a\\040b rw shared:8 - zfs pool/a rw
32 22 0:32 / /private rw - tmpfs tmpfs rw
"""
# The same file systems in a namespace of their own: each mount has another number.
OWN = """\
122 1 0:21 / / rw {0} - ext4 /dev/vda1 rw
130 122 0:30 / /pool rw {1} - zfs pool rw
131 130 0:31 / /pool/a\\040b rw {2} - zfs pool/a rw
132 122 0:32 / /private rw - tmpfs tmpfs rw
"""
UNCHANGED = OWN.format("", "shared:7", "shared:8")
PRIVATE = OWN.format("", "", "")
SLAVE = OWN.format("", "master:7", "master:8")
SYSTEMD = OWN.format("shared:40", "shared:41 master:7", "shared:42 master:8")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the lists `own` and `host`."""
    monkeypatch.setattr(mount_namespace, "_OWN_MOUNTS", str(tmp_path / "own"))
    monkeypatch.setattr(mount_namespace, "_HOST_MOUNTS", str(tmp_path / "host"))
    (tmp_path / "host").write_text(HOST)
    return tmp_path


@pytest.mark.parametrize("path", ["/", "/pool", "/pool/a b", "/pool/a b/c", "/private", "/else"])
def test_in_the_hosts_namespace_nothing_is_hidden(mounts: Path, path: str) -> None:
    (mounts / "own").write_text(HOST)
    assert not is_hidden_from_host(path)


@pytest.mark.parametrize("own", [PRIVATE, SLAVE, SYSTEMD], ids=["private", "slave", "systemd"])
@pytest.mark.parametrize("path", ["/", "/pool", "/pool/a b/c"])
def test_in_another_namespace_that_sends_nothing_everything_is_hidden(
    mounts: Path, own: str, path: str
) -> None:
    (mounts / "own").write_text(own)
    assert is_hidden_from_host(path)


def test_what_is_mounted_below_a_peer_of_the_hosts_is_seen(mounts: Path) -> None:
    (mounts / "own").write_text(UNCHANGED)
    places = ("/pool", "/pool/a b", "/pool/a b/c", "/pool/other", "/poolside", "/private")
    assert [is_hidden_from_host(path) for path in places] == [False] * 4 + [True] * 2


def test_a_place_with_a_blank_in_its_name_is_found(mounts: Path) -> None:
    """In a list of mounts a blank is written as \\040."""
    (mounts / "own").write_text(OWN.format("", "shared:7", ""))
    assert [is_hidden_from_host(path) for path in ("/pool/a b/c", "/pool/a c")] == [True, False]


def test_of_two_mounts_at_one_place_the_last_counts(mounts: Path) -> None:
    (mounts / "own").write_text(UNCHANGED + "150 130 0:50 / /pool rw - tmpfs tmpfs rw\n")
    assert is_hidden_from_host("/pool/x")


@pytest.mark.parametrize(
    ("own", "is_hidden"), [(PRIVATE, False), (SLAVE, True), (SYSTEMD, True), (HOST, False)]
)
def test_without_the_hosts_list_what_systemd_does_is_recognised(
    mounts: Path, own: str, *, is_hidden: bool
) -> None:
    (mounts / "host").unlink()
    (mounts / "own").write_text(own)
    assert is_hidden_from_host("/pool") is is_hidden


def test_a_symbolic_link_to_the_place_is_followed(mounts: Path) -> None:
    (mounts / "own").write_text(UNCHANGED)
    (mounts / "link").symlink_to("/pool")
    assert not is_hidden_from_host(str(mounts / "link"))
    assert is_hidden_from_host(str(mounts))


def test_this_process_finds_its_own_mounts() -> None:
    assert is_hidden_from_host("/") in {True, False}
