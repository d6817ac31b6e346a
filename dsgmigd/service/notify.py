"""Notifies systemd: ready, status, watchdog, stopping (sd_notify(3)).

Telling never fails: without NOTIFY_SOCKET, and when systemd's socket is gone, nothing happens.
That silence is sdnotify's; so the daemon logs `is_supervised` once at its start.
"""

import os
from collections.abc import Mapping

from sdnotify import SystemdNotifier


class Notifier:
    """The connection to the supervisor of this process, if it has one.

    `is_supervised`: systemd waits for messages (NOTIFY_SOCKET is set).
    `watchdog_interval_seconds`: without a `watchdog()` for this long systemd kills the process,
    so ping every half of it; None: no watchdog, or one for another process.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Connect to NOTIFY_SOCKET; `Notifier({})` notifies nobody.

        sdnotify itself reads the address from `os.environ`, so another mapping can only turn
        the notifier off.
        """
        self.is_supervised = bool(environment.get("NOTIFY_SOCKET"))
        self.watchdog_interval_seconds = _watchdog_interval_seconds(environment)
        # Without an address sdnotify would open a socket that nobody uses.
        self._systemd = SystemdNotifier() if self.is_supervised else None
        self._status = ""

    def ready(self) -> None:
        """Report that the start is complete; systemd then starts the units that wait for it."""
        self._notify("READY=1")

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`; an unchanged text is not sent again."""
        if text != self._status:
            self._status = text
            # A line break would begin another assignment of the protocol.
            self._notify("STATUS=" + " ".join(text.splitlines()))

    def watchdog(self) -> None:
        """Report that the main loop runs."""
        self._notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the process is stopping."""
        self._notify("STOPPING=1")

    def close(self) -> None:
        """Close the connection; nothing is sent after it."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None

    def _notify(self, message: str) -> None:
        if self._systemd is not None:
            # sdnotify encodes in Latin-1 and loses, silently, what does not fit; systemd wants
            # UTF-8. Each byte of UTF-8 as one Latin-1 character comes through.
            self._systemd.notify(message.encode("utf-8", "backslashreplace").decode("latin-1"))


def _watchdog_interval_seconds(environment: Mapping[str, str]) -> float | None:
    """Return what sd_watchdog_enabled(3) would; an invalid value means no watchdog."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    process = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or process != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000 or None
