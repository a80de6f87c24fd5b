"""The short form of the fuzz test; `hatch run chaos:fuzz` is the long one."""

from __future__ import annotations

import pytest

from .fuzz import make

SEED = 71
"""Of the choices in CI, so that a failure is one of the change; `hatch run chaos:fuzz` draws another each time."""


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_hostile_tasks_hurt_nothing_but_workers(request, tmp_path, kind):
    server = request.getfixturevalue(f"{kind}_server")
    server.start()
    print(f"seed {SEED}")
    track = kind == "postgres"
    fuzz = make(tmp_path, kind, server, SEED, track=track)
    problems = fuzz.run(hostile=100, normal=100, within=150)
    fuzz.site.close()
    repeat = f"seed {SEED}, repeat with: hatch run chaos:fuzz --kind {kind}{' --track' * track}"
    assert not problems, "\n".join([repeat, *problems])
