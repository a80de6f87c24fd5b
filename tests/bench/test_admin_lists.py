"""The measurement of the admin's lists opens each of them."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.bench.admin_lists import ADDRESSES


def test_each_list_is_measured() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.admin_lists", "4000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\S+) +\d+ ms$", done.stdout, re.MULTILINE) == [*ADDRESSES]
