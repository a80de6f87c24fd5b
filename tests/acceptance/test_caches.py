"""Caches that do not answer, with clients that have no timeout and ignore their errors."""

from __future__ import annotations

import pytest

from tests.services import Proxy

from .site import eventually

CACHES = {
    "memcached": ("django.core.cache.backends.memcached.PyMemcacheCache", "{}", {"ignore_exc": True}),
    "redis": ("django_redis.cache.RedisCache", "redis://{}/1", {"IGNORE_EXCEPTIONS": True}),
}


@pytest.fixture(params=CACHES)
def proxy(request):
    """A proxy in front of the server of the cache."""
    pytest.importorskip({"memcached": "pymemcache", "redis": "django_redis"}[request.param])
    server = request.getfixturevalue(f"{request.param}_server")
    server.start()
    server.flush()
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def site(make_site, proxy, request):
    """A site with that cache, whose client has no timeouts, as is the default."""
    backend, location, options = CACHES[request.node.callspec.params["proxy"]]
    made = make_site("sqlite")
    settings = made.folder / "site_settings.py"
    cache = {"BACKEND": backend, "LOCATION": location.format(proxy.address), "OPTIONS": options}
    settings.write_text(settings.read_text() + f"\nCACHES = {{'default': {cache!r}}}\n")
    return made


def sent(site, label, **options):
    call = f"async_task('jobs.mark', {label!r}, **{options!r})"
    return site.run(f"from django_q.tasks import async_task; answer = {call}")


def result(site, task_id, *, cached):
    return site.run(f"from django_q.tasks import result; answer = result({task_id!r}, cached={cached})")


def test_cache_that_does_not_answer_delays_only_what_needs_it(site, proxy):
    with site.cluster() as cluster:
        unacknowledged = "from django_q.models import OrmQ; answer = OrmQ.objects.count()"
        before = sent(site, "before", cached=True, group="g")
        eventually(lambda: result(site, before, cached=True), within=20, why=lambda: cluster.log)
        eventually(lambda: site.run(unacknowledged) == 0, why=lambda: cluster.log)  # its group is saved after it
        proxy.stall()
        cached = sent(site, "cached", cached=True, group="g")
        eventually(lambda: "saving results failed" in cluster.log, within=20, why=lambda: cluster.log)
        plain = sent(site, "plain")
        eventually(lambda: result(site, plain, cached=False), within=20, why=lambda: cluster.log)
        eventually(lambda: site.run(unacknowledged) == 1, why=lambda: cluster.log)  # the one for the cache
        proxy.resume()
        eventually(lambda: result(site, cached, cached=True), within=30, why=lambda: cluster.log)
        count = "from django_q.tasks import count_group; answer = count_group('g', cached=True)"
        eventually(lambda: site.run(count) == 2, within=20)
        assert sorted(site.notes()) == ["before", "cached", "plain"]
        assert cluster.log.count("saving results failed") == 1
        assert cluster.stop() == 0


@pytest.mark.parametrize("proxy", ["memcached"], indirect=True)
def test_dead_connection_to_the_cache_is_replaced(site, proxy):
    with site.cluster() as cluster:
        before = sent(site, "before", cached=True)
        eventually(lambda: result(site, before, cached=True), within=20, why=lambda: cluster.log)
        proxy.freeze()
        cached = sent(site, "cached", cached=True)
        eventually(lambda: result(site, cached, cached=True), within=30, why=lambda: cluster.log)
        assert sorted(site.notes()) == ["before", "cached"]
        assert cluster.stop() == 0


@pytest.mark.parametrize("proxy", ["memcached"], indirect=True)
def test_cluster_stops_while_its_cache_does_not_answer(site, proxy):
    with site.cluster() as cluster:
        proxy.stall()
        sent(site, "cached", cached=True)
        eventually(lambda: "saving results failed" in cluster.log, within=20, why=lambda: cluster.log)
        assert cluster.stop(within=15) == 0
        assert "1 results not saved" in cluster.log
