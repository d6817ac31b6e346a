"""What every verb begins with."""

from functools import cached_property

from dsgmigd.cli.output import errors_for_people
from dsgmigd.config import Config, read_config
from dsgmigd.spool import Spool


class Context:
    """The configuration, read when a verb first needs it."""

    def __init__(self, config_path: str | None) -> None:
        self.config_path = config_path

    @cached_property
    def config(self) -> Config:
        """The configuration in force; ends the process if it is invalid."""
        with errors_for_people():
            return read_config(self.config_path)

    def spool(self, instance: int = 0) -> Spool:
        """Return the spool as `instance` sees it."""
        return Spool(self.config.spool_directory, instance)
