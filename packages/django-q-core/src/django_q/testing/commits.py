"""Calls the functions that wait for the commit of a `TestCase`, whose transactions never commit."""

from __future__ import annotations

from typing import Any

from django.db import connections

from django_q.log import messages as log


def run_commit_callbacks() -> None:
    """Call the functions of `transaction.on_commit` whose transaction has ended for the tested code.

    A function waits if a transaction is open that is not one of a `TestCase`. An error of a function is raised, and the
    others wait for the next call.
    """
    for connection in connections.all(initialized_only=True):
        waiting: list[Any] = connection.run_on_commit
        while waiting and not is_in_transaction(connection.atomic_blocks):
            _savepoints, function, robust = waiting.pop(0)
            try:
                function()
            except Exception as error:
                if not robust:
                    raise
                log.receiver.failed(error, function)


def is_in_transaction(blocks: list[Any]) -> bool:
    """Return True if one of the open blocks of `transaction.atomic` was begun by the tested code."""
    return any(not block._from_testcase for block in blocks)
