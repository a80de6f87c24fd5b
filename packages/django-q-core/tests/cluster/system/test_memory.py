from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from django_q.cluster.system import memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(memory, "STATM_FILE", tmp_path / "statm")
    return tmp_path / "statm"


def test_this_process_holds_some_megabytes() -> None:
    assert 5_000 < (memory.current_rss_kb() or 0) < 50_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="counts the faults of Linux")
def test_free_memory_is_used_again() -> None:
    program = f"""
import resource
from django_q.cluster.system.memory import keep_free_memory
keep_free_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [b"x" * {2**20} for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, again = faults(), faults()
print(first, again)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, again = map(int, told.stdout.split())
    if "glibc" not in platform.libc_ver():
        pytest.skip("only the GNU C library is told")
    assert again < first / 10


def test_other_c_libraries_are_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: object())
    memory.keep_free_memory()


def test_linux_reports_pages(elsewhere: Path) -> None:
    elsewhere.write_text("9999 1000 1 1 0 1 0\n")
    assert memory.current_rss_kb() == 1000 * os.sysconf("SC_PAGE_SIZE") // 1024


def test_psutil_reports_bytes(elsewhere: Path) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=2048 * 1024))
    with patch.object(memory, "psutil", lambda: SimpleNamespace(Process=lambda: process)):
        assert memory.current_rss_kb() == 2048


@pytest.mark.parametrize(("platform", "kilobytes"), [("linux", 4096), ("darwin", 4)])
def test_peak_is_used_without_other_sources(elsewhere: Path, platform: str, kilobytes: int) -> None:
    usage = SimpleNamespace(ru_maxrss=4096)
    with (
        patch.object(memory, "psutil", lambda: None),
        patch.object(resource, "getrusage", return_value=usage),
        patch.object(sys, "platform", platform),
    ):
        assert memory.current_rss_kb() == kilobytes
