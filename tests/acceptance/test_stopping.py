"""A stop at a random moment, with load and without: no hang, no orphan, no lost task."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from .site import RunningCluster, eventually, lives

STOPS = int(os.environ.get("DJANGO_Q_STOPS", "6"))
"""Number of stops; by hand, `DJANGO_Q_STOPS=100`."""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_stop_at_any_moment_hangs_nowhere_and_loses_nothing(make_site, kind):
    site = make_site(kind, workers=3, retry=5, save_limit=0)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    sent = []
    for number in range(STOPS):
        if number % 2:
            sent += site.run(
                "from django_q.tasks import async_task\n"
                "answer = [async_task('jobs.slow', n, n % 5 / 20, save=True) for n in range(40)]"
            )
        cluster = RunningCluster(site, (), {})
        try:
            eventually(lambda: "starting" in cluster.log, within=20)  # noqa: B023 - called within the turn
            time.sleep(chance.uniform(0, 1.5))  # the moment is what is random, not a wait for something
            family = cluster.family()
            assert cluster.stop(within=35) == 0, f"seed {seed}: {cluster.log}"
            eventually(lambda: not any(lives(process) for process in family))  # noqa: B023
        finally:
            cluster.end()
    with site.cluster() as cluster:
        ids = f"set({sent!r})"
        code = f"from django_q.models import Task; answer = len({ids} - set(Task.objects.values_list('id', flat=True)))"
        eventually(lambda: site.run(code) == 0, within=60, why=lambda: f"seed {seed}: {cluster.log}")


def test_every_promise_in_the_docs_names_a_test_that_exists():
    root = Path(__file__).parent.parent.parent
    page = (root / "docs/explanation/delivery.md").read_text()
    named = {word for word in page.replace("`", " ").split() if word.startswith("test_")}
    places = ("tests/**/*.py", "packages/*/tests/**/*.py", "packages/*/src/django_q/testing/conformance/*.py")
    sources = [path for place in places for path in root.glob(place)]
    known = "\n".join(path.read_text() for path in sources)
    assert len(named) > 20
    assert not {name.strip(",") for name in named if f"def {name.strip(',')}(" not in known}
