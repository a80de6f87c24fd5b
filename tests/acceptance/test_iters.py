"""Iters are collated whatever becomes of their members, and of the processes that run and save them."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from .site import eventually


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_iter_is_collated_once_though_its_monitor_was_killed(make_site, kind):
    site = make_site(kind, retry=1)
    labels = [f"m{number}" for number in range(12)]
    iter_ids = site.run(
        f"""
        from django_q.tasks import async_iter
        def send(cached):
            options = {{'callback': 'jobs.hook', 'task_name': f'iter{{cached}}'}}
            return async_iter('jobs.slow', [(label, 0.3) for label in {labels!r}], cached=cached, q_options=options)
        answer = [send(False), send(60)]
        """
    )
    with site.cluster() as cluster:
        eventually(lambda: len(site.notes()) > 8, why=lambda: cluster.log)
        (monitor,) = cluster.pids("monitoring")
        os.kill(monitor, signal.SIGKILL)
        results = site.run(
            f"""
            from django_q.tasks import result
            answer = [result(id, wait=60000, cached=index) for index, id in enumerate({iter_ids!r})]
            """
        )
        assert results == [labels, labels], cluster.log
        eventually(lambda: sum(note.startswith("hook") for note in site.notes()) == 2, why=lambda: cluster.log)
        assert monitor not in cluster.pids("monitoring")
        left = """
            from django_q.models import Batch, BatchMember
            answer = [BatchMember.objects.count(), Batch.objects.filter(delivered=None).count()]
            """
        eventually(lambda: site.run(left) == [0, 0], why=lambda: cluster.log)
    hooks = [note for note in site.notes() if note.startswith("hook")]
    assert sorted(note.split()[1] for note in hooks) == ["iter60", "iterFalse"]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_iter_with_lost_members_is_collated_after_batch_timeout(make_site, kind):
    site = make_site(kind, batch_timeout=2)
    sent = site.run(
        """
        from django_q.brokers import get_broker
        from django_q.tasks import async_iter
        purged = [async_iter('jobs.mark', 'ab'), async_iter('jobs.mark', 'ab', cached=True)]
        get_broker().delete_queue()
        some = async_iter('jobs.mark', 'abc')
        broker = get_broker()
        (delivery,) = broker.dequeue_many(1, 0)
        broker.acknowledge(delivery.ack_id)
        answer = [*purged, some]
        """
    )
    with site.cluster() as cluster:
        results = site.run(
            f"""
            from django_q.tasks import result
            answer = [result(id, wait=60000, cached=index == 1) for index, id in enumerate({sent!r})]
            """
        )
    lost = [Counter(each.startswith("Lost") for each in members or ()) for members in results]
    assert lost == [{True: 2}, {True: 2}, {True: 1, False: 2}], cluster.log


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_iter_does_not_wait_for_members_that_are_dead_letters(make_site, kind):
    site = make_site(kind)
    code = site.folder / "gone.py"
    code.write_text("class Label(str): pass\n")
    sent = site.run(
        """
        import gone
        from django_q.tasks import async_iter
        answer = [async_iter('jobs.mark', ['a', gone.Label('b')], cached=cached) for cached in (False, True)]
        """
    )
    code.unlink()
    with site.cluster() as cluster:
        results = site.run(
            f"""
            from django_q.tasks import result
            answer = [result(id, wait=30000, cached=index) for index, id in enumerate({sent!r})]
            """
        )
        for members in results:
            assert members is not None, cluster.log
            assert members[0] == "a"
            assert members[1].startswith("Dead-lettered")
            assert "gone" in members[1]
    dead = site.run("from django_q.brokers import get_broker; answer = get_broker().dead_size()")
    assert (dead, site.notes()) == (2, ["a", "a"])


def test_iter_that_two_clusters_run_is_collated_once(make_site):
    site = make_site("postgres")
    with site.cluster(), site.cluster() as cluster:
        ids = site.run(
            """
            from django_q.tasks import async_iter
            options = {'callback': 'jobs.hook', 'task_name': 'iter'}
            answer = [async_iter('jobs.mark', range(200), q_options=options) for _ in range(5)]
            """
        )
        results = site.run(f"from django_q.tasks import result; answer = [result(id, wait=60000) for id in {ids!r}]")
        assert results == [list(range(200))] * 5, cluster.log
        eventually(lambda: sum(note.startswith("hook") for note in site.notes()) == 5, why=lambda: cluster.log)
    assert sum(note.startswith("hook") for note in site.notes()) == 5
