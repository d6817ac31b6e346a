"""Who submitted a request, and whether that user may submit.

The owner of the file decides, not what the request says. The group of the spool's directory is the
policy: its members may submit, and so may root and the daemon's user. A user who is unknown on this
host stays a number, and is in no group.
"""

import grp
import os
import pwd
import stat
from typing import Any

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def describe_owner(status: os.stat_result) -> dict[str, Any]:
    """Return user and group of a file: numbers, and their names on this host.

    `is_shared` is added, and true, if others than the owner can write to the file.
    """
    user, group = _user(status.st_uid), _group_name(status.st_gid)
    owner = {
        "uid": status.st_uid,
        "user": user.pw_name if user else None,
        "gid": status.st_gid,
        "group": group,
    }
    return owner | ({"is_shared": True} if status.st_mode & _WRITABLE_BY_OTHERS else {})


def is_administrator(uid: int | None) -> bool:
    """Say whether `uid` is root or the daemon's user."""
    return uid in {0, os.geteuid()}


def why_not_allowed(uid: int, group: int) -> tuple[str, str] | None:
    """Return why user `uid` may not submit to a spool of that group, and the fix."""
    if is_administrator(uid):
        return None
    user = _user(uid)
    if user and group in os.getgrouplist(user.pw_name, user.pw_gid):
        return None
    name = _group_name(group) or str(group)
    if group == 0:
        hint = "the spool's group is root's own: only root may submit"
    else:
        hint = f"ask an administrator to run: adduser {user.pw_name if user else 'USER'} {name}"
    known = f"{user.pw_name} ({uid})" if user else f"{uid} (unknown on this host)"
    return (
        f"user {known} is not in the spool's group {name}",
        hint,
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
