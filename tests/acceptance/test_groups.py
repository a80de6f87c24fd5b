"""Groups in a cache that several clusters write at the same time."""

from __future__ import annotations

import pytest

from .site import eventually

COUNT = 500

SEND = f"""
from django_q.tasks import async_bulk, count_group, result_group, fetch_group
async_bulk([('jobs.mark', (number,)) for number in range({COUNT})], cached=CACHED, group='shared')
results = result_group('shared', count={COUNT}, wait=120000, cached=True)
tasks = fetch_group('shared', cached=True)
answer = [
    count_group('shared', cached=True),
    sorted(results) == list(range({COUNT})),
    sorted(task.args[0] for task in tasks) == list(range({COUNT})),
    count_group('shared', failures=True, cached=True),
    len({{task.id for task in tasks}}),
]
"""


@pytest.mark.parametrize(("kind", "cached"), [("redis", True), ("redis", 600), ("postgres", True)])
def test_cached_group_is_exact_with_two_clusters_of_four_workers(request, make_site, kind, cached):
    site = make_site(kind, workers=4)
    if kind == "redis":
        cache = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": request.getfixturevalue("redis_url"),
        }
    else:
        cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}
        cache["OPTIONS"] = {"MAX_ENTRIES": 100_000}
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(f"\nCACHES = {{'default': {cache!r}}}\n")
    site.manage("createcachetable")
    site.run("from django.core.cache import cache; cache.clear()")
    with site.cluster() as first, site.cluster() as second:
        count, exact, whole, failures, different = site.run(SEND.replace("CACHED", repr(cached)))
        assert (count, exact, whole, failures, different) == (COUNT, True, True, 0, COUNT)
        shares = [each.log.count("processing") for each in (first, second)]
        assert min(shares) > COUNT / 20, shares
        eventually(lambda: site.run("from django_q.tasks import queue_size; answer = queue_size()") == 0)
        assert sorted(site.notes(), key=int) == [str(number) for number in range(COUNT)]
