"""Runs commands for the host, which asks over a serial port.

One JSON object a line in both directions. The first line out says which boot this is. Asked
`{"id", "argv", "seconds", "input"}`, it answers `{"id", "code", "stdout", "stderr"}`, bytes in
base64; `code` is null when the time is over, and then the command with all its children is killed.
Commands run beside each other.
"""

import base64
import json
import os
import signal
import subprocess
import threading
import tty
from pathlib import Path
from typing import Any, BinaryIO

_USER_MODE = "User Mode Linux"
_SERIAL_LINE, _VIRTIO_PORT = "/dev/ttyS0", "/dev/virtio-ports/dsgmigd-test"
_BOOT = "/proc/sys/kernel/random/boot_id"


def main() -> None:
    """Serve the port until the machine ends."""
    is_user_mode = _USER_MODE in Path("/proc/cpuinfo").read_text(encoding="ascii")
    with open(_SERIAL_LINE if is_user_mode else _VIRTIO_PORT, "r+b", buffering=0) as port:
        if is_user_mode:
            tty.setraw(port.fileno())
        turn = threading.Lock()
        _tell(port, turn, {"boot": Path(_BOOT).read_text(encoding="ascii").strip()})
        left = b""
        while True:
            # A port that nobody has open on the other side reads as at its end.
            left += os.read(port.fileno(), 1 << 16)
            *lines, left = left.split(b"\n")
            for line in lines:
                asked = json.loads(line)
                threading.Thread(target=_serve, args=(port, turn, asked), daemon=True).start()


def _serve(port: BinaryIO, turn: threading.Lock, asked: dict[str, Any]) -> None:
    process = subprocess.Popen(
        asked["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/root",
    )
    code: int | None
    try:
        output, errors = process.communicate(base64.b64decode(asked["input"]), asked["seconds"])
        code = process.returncode
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        code, output, errors = None, error.stdout or b"", error.stderr or b""
    texts = (base64.b64encode(text).decode("ascii") for text in (output, errors))
    answer = dict(zip(("stdout", "stderr"), texts, strict=True))
    _tell(port, turn, {"id": asked["id"], "code": code, **answer})


def _tell(port: BinaryIO, turn: threading.Lock, what: dict[str, Any]) -> None:
    content = json.dumps(what).encode("ascii") + b"\n"
    with turn:
        while content:
            content = content[port.write(content) :]


main()
