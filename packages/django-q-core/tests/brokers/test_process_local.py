from __future__ import annotations

import os

from django_q.brokers.process_local import ProcessLocal


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
    child = os.fork()
    if not child:
        os._exit(0 if made.get() == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert made.get() == mine
