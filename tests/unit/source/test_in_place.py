"""A directory that is read in place stays the same one, whatever happens to its name."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import HostExhausted, SourceChanged
from dsgmigd.source import in_place
from dsgmigd.source.in_place import Places
from tests.unit.failing import failing


def make(path: Path) -> str:
    path.mkdir()
    (path / "file").write_text(path.name)
    return str(path)


def test_the_directory_is_the_one_that_was_asked_for_first(tmp_path: Path) -> None:
    place, places = make(tmp_path / "s1"), Places()
    path = places.path_to(place)
    os.rename(place, tmp_path / "away")
    (tmp_path / "s1").symlink_to(make(tmp_path / "other"))
    assert Path(path, "file").read_text() == "s1"
    assert not os.path.islink(path)
    places.close()
    assert not os.path.exists(path)


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("other", ["link", "directory", "file", "nothing"])
def test_what_was_exchanged_is_not_read_on(tmp_path: Path, other: str, *, is_open: bool) -> None:
    place, places = make(tmp_path / "s1"), Places()
    places.path_to(place)
    if not is_open:
        places.close()
    os.rename(place, tmp_path / "away")
    if other == "link":
        os.symlink(tmp_path / "away", place)
    elif other == "directory":
        os.mkdir(place)
    elif other == "file":
        Path(place).touch()
    with pytest.raises(SourceChanged, match="s1 was removed or replaced while it was read"):
        places.path_to(place)
    if other != "nothing":
        os.rename(place, tmp_path / "exchanged")
    os.rename(tmp_path / "away", place)
    assert Path(places.path_to(place), "file").read_text() == "s1"
    places.close()


def test_only_a_few_directories_are_open_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "_KEPT_OPEN", 2)
    places = Places()
    made = [make(tmp_path / name) for name in ("s1", "s2", "s3")]
    before = len(os.listdir("/proc/self/fd"))
    for place in (*made, *made, made[0]):
        assert Path(places.path_to(place), "file").read_text() == os.path.basename(place)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    places.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_host_without_descriptors_is_not_a_source_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(errno.EMFILE))
    with pytest.raises(HostExhausted):
        Places().path_to(str(tmp_path))
