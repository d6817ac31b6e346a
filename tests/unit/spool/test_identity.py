"""The UUID of a spool."""

import uuid
from pathlib import Path

import pytest

from dsgmigd.errors import SpoolUnusable
from dsgmigd.spool.spool import Spool


def prepared(directory: Path) -> Spool:
    spool = Spool(str(directory))
    spool.prepare(is_made_if_missing=True)
    return spool


def test_a_spool_has_one_identity_which_no_other_has(tmp_path: Path) -> None:
    identity = prepared(tmp_path / "spool").identity()
    assert str(uuid.UUID(identity)) == identity
    Spool(str(tmp_path / "spool"), 7).prepare()
    assert Spool(str(tmp_path / "spool"), 7).identity() == identity
    assert prepared(tmp_path / "other").identity() != identity


@pytest.mark.parametrize("text", ["", "no UUID", str(uuid.UUID(int=7)).upper()[:-1] + "A"])
def test_an_identity_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    prepared(tmp_path)
    link = tmp_path / ".dsgmigd/identity"
    link.unlink()
    if text:
        link.symlink_to(text)
    with pytest.raises(SpoolUnusable, match="identity"):
        Spool(str(tmp_path)).identity()
