from __future__ import annotations

import os

from django_q.brokers.process_local import ProcessLocal

from tests.forks import in_a_fork


def test_value_is_created_once():
    made = ProcessLocal(object)
    assert made.get() is made.get()


def test_value_can_be_set_and_removed():
    made = ProcessLocal(object)
    mine = object()
    made.set(mine)
    assert made.get() is mine
    made.forget()
    assert made.get() is not mine


def test_child_creates_its_own_value():
    made = ProcessLocal(os.getpid)
    mine = made.get()
    assert in_a_fork(lambda: made.get() == os.getpid())
    assert made.get() == mine
