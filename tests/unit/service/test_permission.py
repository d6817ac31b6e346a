"""What a member may ask for, and what only an administrator may."""

import os
from collections.abc import Sequence
from typing import Any

import pytest

from dsgmigd.errors import InvalidRequest
from dsgmigd.migration.job import Settings
from dsgmigd.names import DatasetName, SnapshotName
from dsgmigd.request import LOOSENINGS, Loosening, Request
from dsgmigd.service.permission import Permission

MEMBER = {"uid": 4_000_000_000, "user": "ana"}
LOOSE: dict[Loosening, Request] = {
    "replace": Request(replace=True),
    "allow_loss": Request(allow_loss=("xattr", "acl")),
    "verify": Request(verify="changes"),
    "rebuild_from": Request(rebuild_from=SnapshotName(2)),
    "evidence": Request(evidence="none"),
}


def check(
    request: Request,
    submitted_by: dict[str, Any] = MEMBER,
    *,
    members_may: Sequence[Loosening] = (),
    **configured: Any,
) -> None:
    parent = DatasetName("zsd")
    configured = {"evidence": "sha256", **configured}
    settings = Settings("/source", parent, "zsd/.dsgmigd", **configured)
    Permission(settings, members_may).check(request, submitted_by)


def test_every_key_that_can_loosen_has_a_case() -> None:
    assert set(LOOSE) == set(LOOSENINGS)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("replace", 'ask for "replace": true, because the configuration has existing = "refuse"'),
        ("allow_loss", 'ask for "allow_loss": ["xattr", "acl"], because.* allow_loss = ["acl"]'),
        ("verify", 'ask for "verify": "changes", because the configuration has level = "complete"'),
        (
            "rebuild_from",
            'ask for "rebuild_from": "s2", because the configuration has existing = "refuse"',
        ),
        (
            "evidence",
            'ask for "evidence": "none", because the configuration has evidence = "sha256"',
        ),
    ],
)
def test_a_member_may_not_loosen_what_the_configuration_says(key: Loosening, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(LOOSE[key], allow_loss=("acl",))
    first, _, last = words.partition(".*")
    assert f"user ana may not {first}" in caught.value.message
    assert last in caught.value.message
    assert f'add "{key}" to members_may in the section [spool]' in caught.value.hint


@pytest.mark.parametrize("key", LOOSENINGS)
def test_members_may_loosen_what_the_administrator_names_and_nothing_else(key: Loosening) -> None:
    check(LOOSE[key], members_may=[key])
    with pytest.raises(InvalidRequest):
        check(LOOSE[key], members_may=[other for other in LOOSENINGS if other != key])


@pytest.mark.parametrize("key", LOOSENINGS)
@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_daemons_user_may_loosen_everything(uid: int, key: Loosening) -> None:
    check(LOOSE[key], {"uid": uid, "user": "admin"})


@pytest.mark.parametrize("key", LOOSENINGS)
def test_a_file_of_root_that_others_can_write_speaks_for_them(key: Loosening) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(LOOSE[key], {"uid": 0, "user": "root", "is_shared": True})
    assert "others than its owner root can write to the file" in caught.value.message
    assert "mode 644" in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "configured"),
    [
        (Request(), {}),
        (Request(replace=False), {"replace_existing": True}),
        (Request(replace=True), {"replace_existing": True}),
        (Request(allow_loss=()), {"allow_loss": ("xattr",)}),
        (Request(allow_loss=("xattr",)), {"allow_loss": ("acl", "xattr")}),
        (Request(verify="exhaustive"), {}),
        (Request(verify="complete"), {}),
        (Request(verify="structure"), {"verify_level": "structure"}),
        (Request(limit=1, note="why", migration_tag="v1"), {}),
    ],
)
def test_a_member_may_ask_for_what_is_as_strict_or_stricter(
    request_: Request, configured: dict[str, Any]
) -> None:
    check(request_, **configured)


def test_a_request_of_nobody_known_is_that_of_a_member() -> None:
    with pytest.raises(InvalidRequest, match="user unknown may not"):
        check(Request(replace=True), {})
