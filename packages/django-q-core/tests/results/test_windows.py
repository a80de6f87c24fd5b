"""Many keys are read a window at a time."""

from __future__ import annotations

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django_q.results.windows import WINDOW, read_many


class Asked(LocMemCache):
    """Remembers how many keys each command asked for."""

    def __init__(self) -> None:
        super().__init__("windows", {})
        self.clear()
        self.commands: list[int] = []

    def get_many(self, keys, version=None):
        self.commands.append(len(keys))
        return super().get_many(keys, version)


@pytest.fixture
def cache():
    return Asked()


def test_what_is_there_is_found_in_every_window(cache):
    cache.set_many({"0": "first", "5": "middle", "6": "last"})
    found = read_many(cache, [str(n) for n in range(7)], 3)
    assert found == {"0": "first", "5": "middle", "6": "last"}
    assert cache.commands == [3, 3, 1]


@pytest.mark.parametrize(("count", "commands"), [(0, []), (WINDOW, [WINDOW]), (WINDOW + 1, [WINDOW, 1])])
def test_no_command_asks_for_more_than_a_window(cache, count, commands):
    assert read_many(cache, [str(n) for n in range(count)]) == {}
    assert cache.commands == commands
