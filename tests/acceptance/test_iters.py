"""Iters are collated whatever becomes of their members, and of who watches them."""

from __future__ import annotations

import os
import signal

import pytest

from .site import eventually


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_iter_with_a_lost_member_is_collated_though_its_monitor_was_killed(make_site, kind):
    site = make_site(kind, retry=1)
    iter_id, left = site.run(
        """
        from django_q.tasks import async_iter, queue_size
        from django_q.brokers import get_broker
        iter_id = async_iter('jobs.mark', ['a', 'b', 'c'])
        broker = get_broker()
        (delivery,) = broker.dequeue_many(1, 0)
        broker.acknowledge(delivery.ack_id)
        answer = [iter_id, queue_size()]
        """
    )
    assert left == 2
    with site.cluster() as cluster:
        joined = f"""
            from django_q.conf import current_settings
            from django_q.results.cache import CacheResults
            answer = len(CacheResults(current_settings()).read_members({iter_id!r}))
            """
        eventually(lambda: site.run(joined) == 2, why=lambda: cluster.log)
        (monitor,) = cluster.pids("monitoring")
        os.kill(monitor, signal.SIGKILL)
        answer = f"from django_q.tasks import result; answer = result({iter_id!r}, wait=60000)"
        results = site.run(answer)
        assert monitor not in cluster.pids("monitoring")
    lost = [each for each in results if each.startswith("Lost")]
    assert len(lost) == 1
    assert sorted(set(results) - set(lost)) == sorted(set(site.notes()))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_iter_whose_members_are_all_lost_is_collated(make_site, kind):
    site = make_site(kind, retry=1)
    code = site.folder / "gone.py"
    code.write_text("def mark(label): return label\n")
    sent = site.run(
        """
        import gone
        from django_q.brokers import get_broker
        from django_q.tasks import async_iter
        purged = [async_iter('jobs.mark', 'ab'), async_iter('jobs.mark', 'ab', cached=True)]
        get_broker().delete_queue()
        unreadable = [async_iter(gone.mark, 'ab'), async_iter(gone.mark, 'ab', cached=True)]
        answer = [*purged, *unreadable]
        """
    )
    code.unlink()
    with site.cluster() as cluster:
        results = site.run(
            f"""
            from django_q.tasks import result
            answer = [result(id, wait=60000, cached=index % 2) for index, id in enumerate({sent!r})]
            """
        )
        assert [len(each or ()) for each in results] == [2, 2, 2, 2], cluster.log
        assert all(each.startswith("Lost") for members in results for each in members)
        left = """
            from django_q.conf import current_settings
            from django_q.results.cache import CacheResults
            from django_q.results.watchlist import Watchlist
            answer = Watchlist(CacheResults(current_settings())).read()
            """
        eventually(lambda: site.run(left) == {}, why=lambda: cluster.log)
    dead = site.run("from django_q.brokers import get_broker; answer = get_broker().dead_size()")
    assert (dead, site.notes()) == (4, [])
