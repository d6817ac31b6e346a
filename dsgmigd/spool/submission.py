"""Whose request it is, and whether he may ask for one.

Not what a request says decides, but who owns its file. The group of the spool's directory is the
policy: its members may submit, as may root and the daemon's own user. What the host's list of users
does not know stays a number, and is a member of nothing.
"""

import grp
import os
import pwd
from typing import Any


def describe_owner(status: os.stat_result) -> dict[str, Any]:
    """Return the owner of a file: numbers, and the names that they have on this host."""
    user, group = _user(status.st_uid), _group_name(status.st_gid)
    return {
        "uid": status.st_uid,
        "user": user.pw_name if user else None,
        "gid": status.st_gid,
        "group": group,
    }


def why_not_allowed(uid: int, group: int) -> tuple[str, str] | None:
    """Say why user `uid` may not submit to a spool of that group, and what mends it."""
    if uid in {0, os.geteuid()}:
        return None
    user = _user(uid)
    if user and group in os.getgrouplist(user.pw_name, user.pw_gid):
        return None
    known = f"{user.pw_name} ({uid})" if user else f"{uid}, whom this host does not know,"
    name = _group_name(group) or str(group)
    return (
        f"user {known} is not in the spool's group {name}",
        f"an administrator can add him: adduser USER {name}; root's own group is for root alone",
    )


def _user(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None
