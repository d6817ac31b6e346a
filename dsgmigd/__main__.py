"""`python -m dsgmigd` and the console script."""

import sys

from dsgmigd.cli import main as run_command_line
from dsgmigd.host.encoding import enter_utf8_mode, escape_output
from dsgmigd.host.log import get_logger


def main() -> None:
    """Run the command line; an unexpected exception is logged with its traceback, exit status 1."""
    enter_utf8_mode()
    escape_output()
    try:
        run_command_line()
    except Exception:  # noqa: BLE001 # the last resort: a bug, or a broken host
        from dsgmigd.service.journal import flush_journal  # noqa: PLC0415 - see get_logger

        get_logger().critical("process.crashed", exc_info=True)
        flush_journal()
        sys.exit(1)


if __name__ == "__main__":
    main()
