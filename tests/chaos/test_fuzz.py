"""The short form of the fuzz test; `hatch run chaos:fuzz` is the long one."""

from __future__ import annotations

import random

import pytest

from .fuzz import make


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_hostile_tasks_hurt_nothing_but_workers(request, tmp_path, kind):
    server = request.getfixturevalue(f"{kind}_server")
    server.start()
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    fuzz = make(tmp_path, kind, server, seed)
    problems = fuzz.run(hostile=100, normal=100, within=150)
    fuzz.site.close()
    assert not problems, "\n".join([f"seed {seed}, repeat with: hatch run chaos:fuzz --kind {kind}", *problems])
