"""The health of the pool below a dataset."""

from dsgmigd.errors import CommandFailed, TargetUnavailable
from dsgmigd.zfs.dataset import RunsCommands
from dsgmigd.zfs.waking import wake_zfs_fuse

_ANSWER_SECONDS = 20
_WRITABLE = frozenset({"ONLINE", "DEGRADED"})


def check_pool(commands: RunsCommands, dataset: str) -> None:
    """Raise TargetUnavailable unless the pool of `dataset` takes writes.

    `zpool list` answers at once even when the pool is suspended and every file in it hangs.
    """
    wake_zfs_fuse()
    pool = dataset.partition("/")[0]
    try:
        health = commands.output(
            "zpool", "list", "-H", "-o", "health", pool, timeout_seconds=_ANSWER_SECONDS
        ).strip()
    except CommandFailed as error:
        raise TargetUnavailable(
            f"the pool {pool} is not there: {error.stderr.strip()}",
            hint=f"import it with: zpool import {pool}",
        ) from error
    if health not in _WRITABLE:
        raise TargetUnavailable(
            f"the pool {pool} is {health}", hint=f"look at: zpool status -v {pool}"
        )
