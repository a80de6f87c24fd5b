"""A cache that does not answer blocks its caller for a limited time."""

from __future__ import annotations

import threading
import time

import pytest
from django_q.caches.calls import CacheCalls, Caller
from django_q.testing import eventually


@pytest.fixture
def calls():
    calls = CacheCalls(probe=0.01)
    calls.limit(timeout=0.2)
    yield calls
    for caller in [calls.caller, *calls.stuck]:
        if caller is not None:
            caller.pending.put(None)


@pytest.fixture
def answer():
    """Event that lets the server answer when it is set."""
    answer = threading.Event()
    yield answer
    answer.set()


def test_unlimited_call_is_made_in_the_calling_thread():
    assert CacheCalls().make(threading.current_thread) is threading.current_thread()


def test_limited_calls_share_a_thread(calls):
    thread = calls.make(threading.current_thread)
    assert isinstance(thread, Caller)
    assert calls.make(threading.current_thread) is thread


def test_call_within_a_call_is_made_at_once(calls):
    assert calls.make(lambda: calls.make(lambda: 42)) == 42


def test_error_of_a_call_is_raised(calls):
    with pytest.raises(ZeroDivisionError):
        calls.make(lambda: 1 / 0)
    assert calls.make(lambda: 42) == 42


def test_call_without_an_answer_is_given_up(calls, answer):
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        calls.make(answer.wait)


def test_later_calls_fail_without_waiting(calls, answer):
    with pytest.raises(TimeoutError):
        calls.make(answer.wait)
    began = time.monotonic()
    for _ in range(10):
        with pytest.raises(TimeoutError, match="does not answer"):
            calls.make(lambda: 42)
    assert time.monotonic() - began < 0.1


def test_another_thread_retries_after_growing_pauses(calls, answer):
    pauses = []
    for _ in range(5):
        calls.resume_at = 0.0
        with pytest.raises(TimeoutError, match="no answer"):
            calls.make(answer.wait)
        pauses.append(round(calls.resume_at - time.monotonic()))
    assert pauses == [2, 4, 8, 16, 32]
    assert len(calls.stuck) == 5


def test_cache_that_answers_again_is_used_again(calls, answer):
    with pytest.raises(TimeoutError):
        calls.make(answer.wait)
    stuck = calls.stuck[0]
    answer.set()
    eventually(lambda: not stuck.is_alive())
    assert calls.make(lambda: 42) == 42
    assert calls.stuck == []
