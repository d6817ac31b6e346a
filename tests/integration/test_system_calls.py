"""What is unchanged must cost few system calls: not one more for each entry than it does now.

2.04 and 2.79, and a tenth of air. Calls that wait for a thread are not counted: their number is
another one each time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("state")  # it mounts a tmpfs, and fails in CI where that is impossible
@pytest.mark.parametrize(("files_in_directory", "limit"), [(1000, 2.25), (25, 3.1)])
def test_an_unchanged_entry_costs_little_more_than_its_status_on_both_sides(
    files_in_directory: int, limit: float
) -> None:
    program = ROOT / "bench" / "unchanged_entries.py"
    options = ("--entries", "3000", "--rounds", "1", "--calls")
    directories = ("--files-in-directory", str(files_in_directory))
    path = f"{ROOT}:{ROOT / 'packaging' / 'quickstart'}"
    done = subprocess.run(
        (sys.executable, program, *options, *directories),
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    figures = json.loads(done.stdout)
    assert figures["calls"] < limit, figures
