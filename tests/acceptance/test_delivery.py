"""Every task ends where it should: saved, offered again, or with the dead letters."""

from __future__ import annotations

import os
import signal
import time

import pytest

from .saved import assert_failed, assert_succeeded, saved
from .site import eventually

KINDS = ["sqlite", "redis"]
SERVERS = ["sqlite", "postgres", "redis"]


def sent(site, call: str) -> str:
    return site.run(f"from django_q.tasks import async_task; answer = {call}")


def done(site, ids: list[str]) -> list:
    """The results of those tasks that are finished, in one look."""
    return site.run(
        f"""
        from django_q.models import Task
        found = {{task.id: task for task in Task.objects.filter(pk__in={ids!r})}}
        answer = [str(found[each].result) for each in {ids!r} if each in found]
        """
    )


def sizes(site) -> list[int]:
    return site.run(
        """
        from django_q.brokers import get_broker
        broker = get_broker()
        answer = [broker.queue_size(), broker.lock_size(), broker.dead_size()]
        """
    )


@pytest.mark.parametrize("kind", SERVERS)
def test_task_that_runs_longer_than_its_lease_runs_once(make_site, kind):
    site = make_site(kind, retry=2)
    with site.cluster():
        task_id = sent(site, "async_task('jobs.slow', 'long', 7)")
        eventually(lambda: saved(site, task_id), within=30)
        begun = [line for line in site.notes() if "begins" in line]
        assert len(begun) == 1
        assert_succeeded(saved(site, task_id), result="long", attempt=1)
        eventually(lambda: sizes(site) == [0, 0, 0])  # the task is saved before it is acknowledged


@pytest.mark.parametrize("kind", SERVERS)
def test_tasks_of_a_killed_cluster_return_when_their_leases_end(make_site, kind):
    site = make_site(kind, retry=3)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.slow', 'x', 2)")
        eventually(lambda: len(site.notes()) == 1, why=lambda: cluster.log)
        cluster.kill()
    with site.cluster() as cluster:
        eventually(lambda: len(site.notes()) >= 2, within=8, why=lambda: cluster.log)
        eventually(lambda: saved(site, task_id), within=10)
        assert_succeeded(saved(site, task_id), result="x", attempt=2)


@pytest.mark.parametrize("kind", SERVERS)
def test_tasks_of_a_killed_cluster_return_2_seconds_after_retry(make_site, kind):
    retry, load = 4, 2  # seconds; the second is for a machine that has other things to do
    site = make_site(kind, retry=retry, workers=1)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.slow', 'x', 20)")
        eventually(lambda: len(site.notes()) == 1, why=lambda: cluster.log)
        with site.cluster() as other:
            cluster.kill()
            killed = time.monotonic()
            eventually(lambda: len(site.notes()) == 2, within=retry + 2, why=lambda: other.log)
            assert time.monotonic() - killed < retry + 2 + load
            other.kill()
    assert saved(site, task_id) is None


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_cluster_loses_its_tasks_and_runs_none_again(make_site, kind):
    site = make_site(kind, retry=2, workers=1)
    with site.cluster() as frozen:
        first, second = site.run(
            "from django_q.tasks import async_task\n"
            "answer = [async_task('jobs.slow', 'first', 4), async_task('jobs.mark', 'second')]"
        )
        eventually(lambda: len(site.notes()) == 1, why=lambda: frozen.log)
        family = frozen.freeze()
        with site.cluster() as other:
            eventually(lambda: site.notes().count("first ends") == 1, within=20, why=lambda: other.log)
            eventually(lambda: site.notes().count("second") == 1, within=20, why=lambda: other.log)
            eventually(lambda: saved(site, second), within=10)
            of_other = saved(site, first)
            for process in family:
                process.resume()
            eventually(lambda: site.notes().count("first ends") == 2, within=15, why=lambda: frozen.log)
            third = sent(site, "async_task('jobs.mark', 'third')")
            eventually(lambda: saved(site, third), within=10)
        begun = [line for line in site.notes() if line.startswith("first begins")]
        assert len(begun) == 2
        assert site.notes().count("second") == 1
        assert_succeeded(of_other)
        assert_succeeded(saved(site, first))


@pytest.mark.parametrize("kind", KINDS)
def test_killed_task_ends_in_the_failures_after_max_attempts(make_site, kind):
    site = make_site(kind, retry=1, max_attempts=3, ack_failures=False)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.suicide', 'x', 'kill')")
        eventually(lambda: (task := saved(site, task_id)) and task.attempt == 3, within=30, why=lambda: cluster.log)
        assert_failed(saved(site, task_id))
        eventually(lambda: sizes(site) == [0, 0, 0], within=10)
        assert site.notes() == ["x"] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_task_that_kills_clusters_fails_after_max_attempts(make_site, kind):
    site = make_site(kind, retry=1, max_attempts=2, workers=1)
    task_id = sent(site, "async_task('jobs.slow', 'x', 60)")
    for attempt in (1, 2):
        with site.cluster() as cluster:
            eventually(lambda number=attempt: len(site.notes()) == number, within=20, why=lambda: cluster.log)
            cluster.kill()
    with site.cluster() as cluster:
        eventually(lambda: saved(site, task_id), within=20, why=lambda: cluster.log)
        assert_failed(saved(site, task_id), error="no attempts left", attempt=2)
        eventually(lambda: sizes(site) == [0, 0, 0], within=10)
    assert len(site.notes()) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_failed_task_is_redelivered_and_success_replaces_failure(make_site, kind):
    site = make_site(kind, retry=1, ack_failures=False)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.second_time', 'x')")
        eventually(lambda: (task := saved(site, task_id)) and task.success, within=20, why=lambda: cluster.log)
        assert_succeeded(saved(site, task_id), result="x", attempt=2)


def test_failed_task_on_redis_is_not_repeated_by_default(make_site):
    site = make_site("redis", retry=1)
    with site.cluster():
        task_id = sent(site, "async_task('jobs.boom', 'x')")
        eventually(lambda: saved(site, task_id), within=20)
        eventually(lambda: sizes(site) == [0, 0, 0], within=10)
        marker = sent(site, "async_task('jobs.slow', 'after', 2.5)")
        eventually(lambda: saved(site, marker), within=20)
        assert site.notes().count("x") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_unpicklable_result_is_a_failure_of_that_task_alone(make_site, kind):
    site = make_site(kind)
    with site.cluster() as cluster:
        bad = sent(site, "async_task('jobs.unpicklable', ack_failure=True)")
        good = sent(site, "async_task('jobs.mark', 1)")
        eventually(lambda: saved(site, good) and saved(site, bad), within=20, why=lambda: cluster.log)
        assert_failed(saved(site, bad), error="cannot be pickled")
        assert_succeeded(saved(site, good))


@pytest.mark.parametrize("kind", SERVERS)
def test_label_of_any_form_and_length_is_stored(make_site, kind):
    site = make_site(kind)
    with site.cluster() as cluster:
        labels = ("42", "'g' * 150", "'nul\\0'", "'\\ud800'", "'\\U0001f600' * 101")
        ids = [sent(site, f"async_task('jobs.mark', 1, group={each}, task_name={each})") for each in labels]
        eventually(lambda: all(saved(site, each) for each in ids), within=20, why=lambda: cluster.log)
        for each in ids:
            assert_succeeded(saved(site, each))
        found = "from django_q.tasks import count_group\nanswer = [count_group(each) for each in ({},)]"
        assert site.run(found.format(", ".join(labels))) == [1] * len(ids)


OLDER_PACKAGES = """
from django_q.brokers import get_broker
from django_q.wire.package import new_package
from django_q.signing import PackageCodec
import jobs
options = [
    {"group": 42, "cached": 0}, {"group": "g" * 150}, {"group": "nul\\0"}, {"timeout": 1e300}, {"timeout": "10"},
    {"cached": "60"}, {"group": ["a"]}, {"save": "no"}, {"iter_count": float("nan")}, {"chain": True}, {"hook": 5},
    {"group": jobs.Exits()},
]
packages = [new_package("jobs.mark", (str(index),), **each) for index, each in enumerate(options)]
packages += [new_package("jobs.mark", ("chain",), chain=[("jobs.mark", ("link",), {"timeout": "10"})])]
for each in packages:
    get_broker().enqueue(PackageCodec("acceptance").dumps(each))
answer = [each["id"] for each in packages]
"""
"""Sends packages with options that no call accepts any more: three that are normalised, ten that are impossible."""


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_older_producers_work_or_fail_their_own_task(make_site, kind):
    site = make_site(kind)
    with (site.folder / "jobs.py").open("a") as jobs:
        jobs.write("\n\nclass Exits:\n    def __str__(self):\n        raise SystemExit\n")
    with site.cluster() as cluster:
        ids = site.run(OLDER_PACKAGES)
        good = sent(site, "async_task('jobs.mark', 'good')")
        eventually(lambda: all(saved(site, each) for each in [*ids, good]), within=30, why=lambda: cluster.log)
        for each in (*ids[:3], ids[-1]):
            assert_succeeded(saved(site, each))
        for each in ids[3:-1]:
            assert_failed(saved(site, each))
        assert_failed(saved(site, ids[4]), error="timeout is '10' (str): give a number of seconds")
        link = site.run(f"from django_q.wire.ids import next_id\nanswer = next_id({ids[-1]!r})")
        eventually(lambda: saved(site, link), within=10, why=lambda: cluster.log)
        assert_failed(saved(site, link), error="timeout is '10' (str)")
        eventually(lambda: sizes(site) == [0, 0, 0], within=10, why=lambda: cluster.log)
        assert sorted(site.notes()) == ["0", "1", "2", "chain", "good"]
        assert "crashed" not in cluster.log
        assert "reincarnated" not in cluster.log


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_packages_are_dead_letters_and_come_back(make_site, kind):
    site = make_site(kind)
    site.run(
        """
        from django_q.brokers import get_broker
        from django_q.signing import PackageCodec
        from django_q.wire.codec import ResultCodec, StatCodec
        from django_q.wire.package import new_package
        broker = get_broker()
        package = new_package('jobs.mark', ('poison',))
        broker.enqueue(ResultCodec('acceptance').dumps(package))
        broker.enqueue(StatCodec('acceptance').dumps(package))
        broker.enqueue(PackageCodec('another name').dumps(package))
        broker.enqueue('no package at all')
        broker.enqueue(PackageCodec('acceptance').dumps(['no task']))
        """
    )
    gone = site.folder / "gone.py"
    gone.write_text("def function(): pass")
    vanished = sent(site, "(__import__('gone'), async_task(__import__('gone').function))[1]")
    named = sent(site, "async_task('gone.function', ack_failure=True)")
    gone.unlink()
    good = sent(site, "async_task('jobs.mark', 'good')")
    with site.cluster() as cluster:
        eventually(lambda: saved(site, good), within=20, why=lambda: cluster.log)
        eventually(lambda: sizes(site) == [0, 0, 6], within=10, why=lambda: (sizes(site), cluster.log))
        assert cluster.log.count("dead letters") == 6
        assert "reincarnated" not in cluster.log
        assert_failed(eventually(lambda: saved(site, named), within=10), error="No module named 'gone'")
    gone.write_text("def function(): pass")
    assert site.run("from django_q.brokers import get_broker; answer = get_broker().requeue_dead()") == 6
    assert sizes(site)[0] == 6
    with site.cluster() as cluster:
        eventually(lambda: saved(site, vanished), within=20, why=lambda: cluster.log)
        eventually(lambda: sizes(site) == [0, 0, 5], within=10, why=lambda: (sizes(site), cluster.log))


@pytest.mark.parametrize("kind", KINDS)
def test_cluster_with_a_wrong_key_leaves_messages_recoverable(make_site, kind):
    site = make_site(kind)
    ids = site.run("from django_q.tasks import async_task; answer = [async_task('jobs.mark', n) for n in range(10)]")
    settings = site.folder / "site_settings.py"
    right = settings.read_text()
    settings.write_text(right.replace('"acceptance"', '"another"', 1))
    with site.cluster() as cluster:
        eventually(lambda: sizes(site) == [0, 0, 10], within=20, why=lambda: cluster.log)
    settings.write_text(right)
    assert "10" in site.manage("qdead", "--requeue").stdout
    with site.cluster():
        eventually(lambda: len(done(site, ids)) == len(ids), within=20)


@pytest.mark.parametrize("kind", KINDS)
def test_stop_finishes_running_tasks_and_releases_the_others(make_site, kind):
    site = make_site(kind, workers=1, queue_limit=5)
    with site.cluster() as cluster:
        ids = site.run(
            "from django_q.tasks import async_task; answer = [async_task('jobs.slow', n, 2) for n in range(4)]"
        )
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        assert cluster.stop() == 0
        ended = [line for line in site.notes() if "ends" in line]
        assert len(ended) == len([line for line in site.notes() if "begins" in line]) < 4
        assert sizes(site)[0] == 4 - len(ended)
        assert sizes(site)[1] == 0
        assert len(done(site, ids)) == len(ended)


@pytest.mark.parametrize("kind", KINDS)
def test_second_signal_shortens_the_stop_and_task_is_redelivered(make_site, kind):
    site = make_site(kind, workers=1)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.slow', 'x', 8)")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        cluster.signal(signal.SIGTERM)
        eventually(lambda: "stopping cluster processes" in cluster.log)
        cluster.signal(signal.SIGTERM)
        assert cluster.process.wait(6) == 0
        assert sizes(site)[0] == 1
        assert saved(site, task_id) is None
    with site.cluster() as cluster:
        eventually(lambda: saved(site, task_id), within=20, why=lambda: cluster.log)
    assert [note.split()[1] for note in site.notes()] == ["begins", "begins", "ends"]
    assert_succeeded(saved(site, task_id), attempt=2)


@pytest.mark.parametrize("kind", KINDS)
def test_stop_is_bounded_by_stop_timeout(make_site, kind):
    site = make_site(kind, workers=1, stop_timeout=1)
    with site.cluster() as cluster:
        sent(site, "async_task('jobs.stubborn', 'x', 60)")
        eventually(lambda: site.notes(), why=lambda: cluster.log)
        assert cluster.stop(within=10) == 0
        assert sizes(site)[0] == 1


def test_results_wait_until_the_database_is_back(make_site, request):
    site = make_site("postgres")
    server = request.getfixturevalue("postgres_server")
    redis = request.getfixturevalue("redis_url")
    settings = site.folder / "site_settings.py"
    settings.write_text(
        settings.read_text() + f"\nQ_CLUSTER = {{'name': 'acceptance', 'workers': 2, 'redis': {redis!r}}}\n"
    )
    with site.cluster() as cluster:
        marker = sent(site, "async_task('jobs.mark', 'before')")
        eventually(lambda: saved(site, marker), within=20, why=lambda: cluster.log)
        server.stop()
        ids = site.run("from django_q.tasks import async_task; answer = [async_task('jobs.mark', n) for n in range(5)]")
        eventually(lambda: "saving results failed" in cluster.log, within=20, why=lambda: cluster.log)
        server.start()
        eventually(lambda: "saving results succeeded again" in cluster.log, within=30, why=lambda: cluster.log)
        eventually(lambda: len(done(site, ids)) == len(ids), within=20)
        assert cluster.log.count("saving results failed") == 1
        assert sizes(site) == [0, 0, 0]


@pytest.mark.parametrize("kind", ["redis", "postgres", "mariadb"])
def test_broker_that_restarts_is_reached_again(make_site, request, kind):
    site = make_site(kind)
    server = request.getfixturevalue(f"{kind}_server")
    with site.cluster() as cluster:
        marker = sent(site, "async_task('jobs.mark', 'before')")
        eventually(lambda: saved(site, marker), within=20, why=lambda: cluster.log)
        server.stop()
        eventually(lambda: "broker unavailable" in cluster.log, within=20, why=lambda: cluster.log)
        server.start()
        eventually(lambda: "broker available again" in cluster.log, within=30, why=lambda: cluster.log)
        after = sent(site, "async_task('jobs.mark', 'after')")
        eventually(lambda: saved(site, after), within=20, why=lambda: cluster.log)
        assert cluster.log.count("broker unavailable") == 1


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_cluster_stops_while_its_broker_is_away(make_site, request, kind):
    site = make_site(kind)
    server = request.getfixturevalue(f"{kind}_server")
    with site.cluster() as cluster:
        server.stop()
        try:
            eventually(lambda: "broker unavailable" in cluster.log, within=20, why=lambda: cluster.log)
            assert cluster.stop(within=20) == 0
        finally:
            server.start()


@pytest.mark.parametrize("kind", KINDS)
def test_recycled_worker_is_replaced_at_once(make_site, kind):
    site = make_site(kind, workers=1, recycle=5, guard_cycle=30)
    with site.cluster() as cluster:
        ids = site.run("from django_q.tasks import async_task; answer = [async_task('jobs.pid') for n in range(20)]")
        eventually(lambda: len(done(site, ids)) == 20, within=20, why=lambda: cluster.log)
        assert len(set(done(site, ids))) == 4
        eventually(lambda: cluster.log.count("recycled worker") >= 3)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("kind", KINDS)
def test_cluster_runs_under_any_start_method(make_site, kind, method):
    site = make_site(kind, start_method=method)
    with site.cluster() as cluster:
        task_id = sent(site, "async_task('jobs.mark', 'x', hook='jobs.hook', task_name='t')")
        eventually(lambda: saved(site, task_id), within=20, why=lambda: cluster.log)
        eventually(lambda: "hook t True x" in site.notes(), why=lambda: cluster.log)
        os.kill(cluster.pids("ready for work")[0], signal.SIGKILL)
        eventually(lambda: len(cluster.pids("ready for work")) == 2, within=20, why=lambda: cluster.log)
        assert cluster.stop() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_slow_hook_delays_nobodys_result(make_site, kind):
    site = make_site(kind)
    with site.cluster() as cluster:
        sent(site, "async_task('jobs.mark', 1, hook='jobs.slow_hook', task_name='slow')")
        eventually(lambda: site.notes() == ["1"], why=lambda: cluster.log)
        task_id = sent(site, "async_task('jobs.mark', 2)")
        eventually(lambda: saved(site, task_id), within=20)
        eventually(lambda: "slow hook slow" in site.notes(), within=20)
        assert site.notes().count("slow hook slow") == 1
