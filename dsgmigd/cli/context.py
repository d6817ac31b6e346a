"""What every command begins with: the configuration, the spool, a repository's lock."""

import contextlib
import uuid
from collections.abc import Iterator
from functools import cached_property

from dsgmigd.config import Config, read_config
from dsgmigd.errors import SpoolUnusable
from dsgmigd.host.command import Commands
from dsgmigd.host.locks import already_locked
from dsgmigd.names import RepoName
from dsgmigd.spool.spool import Spool

_PATIENCE_SECONDS = 2  # a worker publishes its result a moment before it releases the lock


class Context:
    """The configuration, read when a command first needs it."""

    def __init__(self, config_path: str | None) -> None:
        self.config_path = config_path

    @cached_property
    def config(self) -> Config:
        """The configuration in force; raises InvalidConfig."""
        return read_config(self.config_path)

    def spool(self, instance: int = 0) -> Spool:
        """Return the spool as `instance` sees it."""
        return Spool(self.config.spool_directory, instance)

    def spool_id(self) -> str:
        """Return the UUID of the spool; of one that is not prepared yet, one that nothing has."""
        try:
            return self.spool().identity()
        except SpoolUnusable:
            return str(uuid.uuid4())


@contextlib.contextmanager
def locked(context: Context, name: RepoName) -> Iterator[Commands]:
    """Hold the lock of a repository; the programs that are started inherit it.

    Raises AlreadyRunning if another process keeps the lock for more than two seconds.
    """
    spool = context.spool()
    spool.prepare(is_made_if_missing=True)
    lock = spool.lock_repository(name, patience_seconds=_PATIENCE_SECONDS)
    if lock is None:
        raise already_locked(
            spool.layout.lock(name),
            f"another process is working on {name}",
            hint=f"wait until it ends; to end the request of an instance: dsgmigd cancel {name}",
        )
    try:
        yield Commands(keep_descriptors=(lock.descriptor,))
    finally:
        lock.release()
