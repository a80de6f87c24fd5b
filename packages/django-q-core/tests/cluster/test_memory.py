from __future__ import annotations

import os
import resource
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from django_q.cluster import memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(memory, "STATM", tmp_path / "statm")
    return tmp_path / "statm"


def test_this_process_holds_some_megabytes() -> None:
    assert 5_000 < (memory.current_rss_kb() or 0) < 50_000_000


def test_linux_tells_pages(elsewhere: Path) -> None:
    elsewhere.write_text("9999 1000 1 1 0 1 0\n")
    assert memory.current_rss_kb() == 1000 * os.sysconf("SC_PAGE_SIZE") // 1024


def test_psutil_tells_bytes(elsewhere: Path) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=2048 * 1024))
    with patch.object(memory, "psutil", lambda: SimpleNamespace(Process=lambda: process)):
        assert memory.current_rss_kb() == 2048


@pytest.mark.parametrize(("platform", "kilobytes"), [("linux", 4096), ("darwin", 4)])
def test_peak_is_better_than_nothing(elsewhere: Path, platform: str, kilobytes: int) -> None:
    usage = SimpleNamespace(ru_maxrss=4096)
    with (
        patch.object(memory, "psutil", lambda: None),
        patch.object(resource, "getrusage", return_value=usage),
        patch.object(sys, "platform", platform),
    ):
        assert memory.current_rss_kb() == kilobytes
