"""Whose request it is, and whether he may ask for one."""

import grp
import os
import pwd

import pytest

from dsgmigd.spool.submitter import describe_owner, is_administrator, why_not_allowed

UNKNOWN = 4_000_000_000


def status_of(uid: int, gid: int) -> os.stat_result:
    return os.stat_result((0o100644, 1, 1, 1, uid, gid, 0, 0, 0, 0))


def test_an_owner_is_told_by_number_and_by_name() -> None:
    user, group = pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name

    described = describe_owner(status_of(0, 0))

    assert described == {"uid": 0, "user": user, "gid": 0, "group": group}


def test_who_is_unknown_here_stays_a_number() -> None:
    described = describe_owner(status_of(UNKNOWN, UNKNOWN))

    assert described == {"uid": UNKNOWN, "user": None, "gid": UNKNOWN, "group": None}


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_daemons_own_user_may_submit_anywhere(uid: int) -> None:
    assert why_not_allowed(uid, UNKNOWN) is None


def test_a_user_may_submit_where_his_own_group_has_the_spool() -> None:
    user = next(user for user in pwd.getpwall() if user.pw_uid not in {0, os.geteuid()})

    assert why_not_allowed(user.pw_uid, user.pw_gid) is None


def test_a_user_may_submit_where_a_group_that_lists_him_has_the_spool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = next(user for user in pwd.getpwall() if user.pw_uid not in {0, os.geteuid()})
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, {user.pw_name: 77}[name]])

    assert why_not_allowed(user.pw_uid, 77) is None


def test_the_refusal_of_a_user_outside_the_group_names_the_group_to_join() -> None:
    user = next(user for user in pwd.getpwall() if user.pw_uid not in {0, os.geteuid()})

    refusal = why_not_allowed(user.pw_uid, UNKNOWN)

    assert refusal is not None
    assert f"user {user.pw_name} ({user.pw_uid}) is not in the spool's group {UNKNOWN}" in refusal
    assert f"adduser {user.pw_name} {UNKNOWN}" in refusal[1]


def test_a_user_who_is_unknown_on_this_host_may_not_submit() -> None:
    refusal = why_not_allowed(UNKNOWN - 1, 0)

    assert refusal is not None
    assert f"user {UNKNOWN - 1} (unknown on this host) is not in" in refusal[0]
    assert refusal[1] == "the spool's group is root's own: only root may submit"


@pytest.mark.parametrize("mode", [0o100664, 0o100646, 0o100666])
def test_a_file_that_others_can_write_is_told(mode: int) -> None:
    status = os.stat_result((mode, 1, 1, 1, 0, 0, 0, 0, 0, 0))
    assert describe_owner(status)["is_shared"] is True


@pytest.mark.parametrize(
    ("uid", "expected"), [(0, True), (os.geteuid(), True), (UNKNOWN, False), (None, False)]
)
def test_root_and_the_daemons_own_user_are_administrators(
    uid: int | None, *, expected: bool
) -> None:
    assert is_administrator(uid) is expected
