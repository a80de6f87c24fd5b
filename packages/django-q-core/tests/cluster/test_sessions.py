"""Sessions of tasks, including those in the thread that asgiref shares between event loops."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connection
from django.db.backends.signals import connection_created
from django_q.cluster import sessions

from tests.forks import in_a_fork


@pytest.fixture(autouse=True)
def thread(monkeypatch, django_db_blocker):
    """Provide a shared thread for the test, and databases without an enclosing transaction."""
    thread = sessions.SharedThread()
    monkeypatch.setattr(SyncToAsync, "single_thread_executor", thread)
    with django_db_blocker.unblock():
        yield thread
    thread.shutdown(wait=False)


def run_in_own_loop(call):
    async def main():
        return await sync_to_async(call)()

    return asyncio.run(main())


def connect() -> None:
    connection.ensure_connection()


def is_connected() -> bool:
    return connection.connection is not None


def test_session_in_the_shared_thread_ends_with_the_task():
    run_in_own_loop(connect)
    assert run_in_own_loop(is_connected)
    sessions.end()
    assert not run_in_own_loop(is_connected)


def test_task_without_a_loop_does_not_use_the_shared_thread(thread):
    sessions.end()
    assert not thread._threads


def test_shared_thread_that_is_blocked_is_replaced(monkeypatch):
    monkeypatch.setattr(sessions, "END_SECONDS", 0.05)
    blocked = threading.Event()
    SyncToAsync.single_thread_executor.submit(blocked.wait)
    try:
        sessions.end()
        assert run_in_own_loop(os.getpid) == os.getpid()
    finally:
        blocked.set()


def test_fork_has_its_own_shared_thread():
    run_in_own_loop(os.getpid)

    def has_its_own() -> bool:
        sessions._leave_inherited()
        return run_in_own_loop(os.getpid) == os.getpid()

    assert in_a_fork(has_its_own)


class Ended:
    """Stand-in for `end_sessions` that returns `kept`."""

    def __init__(self):
        self.count, self.kept = 0, False

    def __call__(self):
        self.count += 1
        return self.kept


@pytest.fixture
def ended(monkeypatch):
    """Count the calls of `end_sessions`."""
    ended = Ended()
    monkeypatch.setattr(sessions.connections, "end_sessions", ended)
    sessions._opened.clear()
    return ended


def test_task_that_opens_no_connection_ends_no_session(ended):
    sessions.end()
    assert not ended.count


def test_connection_is_announced(ended):
    connection_created.connect(sessions._note_connection)
    try:
        run_in_own_loop(connect)
    finally:
        connection_created.disconnect(sessions._note_connection)
    sessions.end()
    assert ended.count


def test_session_of_a_kept_connection_ends_after_each_task(ended):
    ended.kept = True
    sessions.end(idle=True)
    sessions.end()
    ended.kept = False
    sessions.end()
    sessions.end()
    assert ended.count == 3


def test_idle_worker_checks_all_databases(ended):
    sessions.end(idle=True)
    assert ended.count
