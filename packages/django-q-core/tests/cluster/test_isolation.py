"""A task cannot damage the next one."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from django_q.cluster.isolation import MAX_LEAKED_FILES, Baseline, WorkerDamaged
from django_q.cluster.system.interpreter import DAMAGING_EVENTS


@pytest.fixture(scope="module")
def baseline():
    return Baseline()


@pytest.fixture(autouse=True)
def _in_folder(baseline):
    yield
    baseline.events["os.chdir"] = ()
    baseline.restore()


def test_environment_is_restored(baseline):
    os.environ["DJANGO_Q_NEW"] = "1"
    path = os.environ.pop("PATH")
    baseline.restore()
    assert "DJANGO_Q_NEW" not in os.environ
    assert os.environ["PATH"] == path


def test_cleared_environment_is_restored(baseline):
    os.environ.clear()
    baseline.restore()
    assert dict(os.environb) == baseline.environment


def test_working_directory_is_restored(baseline, tmp_path):
    os.chdir(tmp_path)
    baseline.restore()
    assert str(Path.cwd()) == baseline.folder


def test_signal_handler_is_restored(baseline):
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    baseline.restore()
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_blocked_signals_are_restored(baseline):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
    baseline.restore()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == baseline.interpreter.blocked_signals


def test_standard_streams_are_restored(monkeypatch):
    baseline, stdout = Baseline(), sys.stdout
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    baseline.restore()
    assert sys.stdout is stdout
    assert not baseline.is_damaged


@pytest.mark.parametrize("replaced", [False, True])
def test_standard_input_that_was_closed_is_opened_again(replaced):
    baseline, kept = Baseline(), os.dup(0)
    file = os.fstat(0)
    os.close(0)
    if replaced:
        reader, writer = os.pipe()
        assert reader == 0
    try:
        baseline.restore()
        assert os.path.samestat(os.fstat(0), file)
        assert not baseline.is_damaged
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        if replaced:
            os.close(writer)


def test_object_of_the_environment_is_restored(monkeypatch):
    baseline, variables = Baseline(), os.environ
    monkeypatch.setattr(os, "environ", {**os.environ, "DJANGO_Q_NEW": "1"})
    baseline.restore()
    assert os.environ is variables


def test_time_zone_of_the_system_is_restored(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    baseline = Baseline()
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    baseline.restore()
    assert time.localtime(0).tm_hour == 0
    monkeypatch.undo()
    time.tzset()


def test_urls_are_restored(baseline):
    set_script_prefix("/evil/")
    set_urlconf("nowhere")
    baseline.restore()
    assert get_script_prefix() == "/"
    assert get_urlconf() is None


def test_handlers_of_further_signals_are_restored(baseline):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    baseline.restore()
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_worker_whose_state_cannot_be_restored_is_replaced(monkeypatch, caplog, error):
    def restore():
        raise error("hostile")

    baseline = Baseline()
    monkeypatch.setattr(baseline.interpreter, "restore", restore)
    baseline.restore()
    assert baseline.is_damaged
    assert "its state could not be restored after a task" in caplog.text


def test_worker_that_can_receive_no_task_is_replaced():
    writer, reader = os.pipe()
    baseline = Baseline([writer, reader])
    os.close(reader)
    baseline.restore()  # its outcome can be sent
    assert baseline.is_damaged
    os.close(writer)


def test_worker_whose_limits_were_changed_is_replaced():
    baseline = Baseline()
    resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))
    baseline.restore()
    assert baseline.is_damaged


def test_umask_is_restored(baseline):
    os.umask(0o777)
    baseline.restore()
    assert os.umask(baseline.umask) == baseline.umask


def test_language_and_time_zone_are_restored(baseline):
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    baseline.restore()
    assert translation.get_language() != "de"
    assert timezone.get_current_timezone_name() != "Asia/Tokyo"


def test_environment_is_compared_only_after_a_change(monkeypatch):
    baseline, compared = Baseline(), []
    monkeypatch.setattr(baseline, "_restore_environment", lambda: compared.append(True))
    baseline.restore()
    assert not compared
    os.environ["DJANGO_Q_NEW"] = "1"
    baseline.restore()
    assert compared
    del os.environ["DJANGO_Q_NEW"]


def test_worker_without_its_folder_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    baseline = Baseline()
    os.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    baseline.restore()
    assert baseline.is_damaged


@pytest.mark.parametrize("replaced", [False, True])
def test_closed_descriptor_of_the_worker_ends_it(replaced, tmp_path):
    reader, writer = os.pipe()
    baseline = Baseline([reader])
    os.close(reader)
    if replaced:
        file = os.open(tmp_path / "log", os.O_CREAT)
        assert file == reader
    with pytest.raises(WorkerDamaged):
        baseline.restore()
    os.close(writer)
    if replaced:
        os.close(file)


def test_leaked_files_are_noticed():
    baseline = Baseline()
    assert not baseline.has_leaked_files()
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(MAX_LEAKED_FILES + 50)]
    assert baseline.has_leaked_files()
    for file in files:
        os.close(file)


def test_environment_that_an_import_changed_is_kept(monkeypatch):
    monkeypatch.setenv("DJANGO_Q_IMPORTED", "0")
    baseline = Baseline()
    os.environ["DJANGO_Q_IMPORTED"] = "1"
    baseline.keep_imported()
    os.environ["DJANGO_Q_IMPORTED"] = "2"
    baseline.restore()
    assert os.environ["DJANGO_Q_IMPORTED"] == "1"


def test_warning_filters_that_an_import_changed_are_kept(baseline):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        filters = list(warnings.filters)
        baseline.keep_imported()
        warnings.simplefilter("error")
        baseline.restore()
        assert warnings.filters == filters
    baseline.keep_imported()


@pytest.mark.parametrize("event", sorted(DAMAGING_EVENTS))
def test_worker_is_replaced_after_a_change_that_cannot_be_undone(event):
    baseline = Baseline()
    sys.audit(event)
    baseline.restore()
    assert baseline.is_damaged


def test_change_after_many_tasks_without_one_is_undone():
    baseline, before = Baseline(), signal.getsignal(signal.SIGTERM)
    for _ in range(500):
        baseline.restore()
    signal.signal(signal.SIGTERM, lambda *_: None)
    baseline.restore()
    assert signal.getsignal(signal.SIGTERM) is before
