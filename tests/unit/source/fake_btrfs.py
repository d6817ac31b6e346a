"""Subvolumes in plain directories, in place of those of a real btrfs."""

import os
from pathlib import Path

from dsgmigd.source.subvolume import Subvolume

UUIDS = {f"s{number}": f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 10)}


def subvolume(
    uuid: str, parent: str | None = None, *, ctransid: int = 7, is_read_only: bool = True
) -> Subvolume:
    return Subvolume(uuid, parent, ctransid, 5, is_read_only=is_read_only, created_at=1.4e9)


class FakeBtrfs:
    """The subvolumes by their real paths, however they are reached."""

    def __init__(self) -> None:
        self.subvolumes: dict[str, Subvolume] = {}
        self.refusal: Exception | None = None

    def add(self, path: Path, found: Subvolume) -> Subvolume:
        """Make a directory which is this subvolume."""
        path.mkdir(parents=True, exist_ok=True)
        self.subvolumes[os.path.realpath(path)] = found
        return found

    def read(self, path: str) -> Subvolume | None:
        return self.subvolumes.get(os.path.realpath(path))

    def create(self, source: str, pin: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        parent = self.subvolumes[os.path.realpath(source)].uuid
        self.add(Path(os.path.realpath(pin)), subvolume("pin", parent))

    def delete(self, pin: str, *, shown: str) -> None:
        assert os.path.realpath(pin) == os.path.realpath(shown)
        del self.subvolumes[os.path.realpath(pin)]
        os.rmdir(pin)
