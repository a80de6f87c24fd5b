"""An iter whose members are all lost before one has finished is collated too, and no other is taken for lost."""

from __future__ import annotations

import enum
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.dispatch import Finisher
from django_q.exceptions import BrokerUnavailable
from django_q.models import Task
from django_q.results import iters, watchlist
from django_q.results.unavailable import ResultsUnavailable
from django_q.tasks import Iter, async_iter, async_task, fetch, result

pytestmark = pytest.mark.django_db


class Clock:
    """The clocks of the look: only the test moves them."""

    def __init__(self) -> None:
        self.now, self.today = iters.time.monotonic(), watchlist.time.time()

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.today += seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(iters, "time", SimpleNamespace(monotonic=lambda: found.now, time=lambda: found.today))
    monkeypatch.setattr(watchlist, "time", SimpleNamespace(time=lambda: found.today))
    return found


def watch(turns, clock, seconds: float) -> int:
    """Look after iters for so long, as a monitor does, and run what follows; how many tasks that were."""
    before, end = len(turns.ran), clock.now + seconds
    while clock.now <= end:
        turns.finisher.look_after_iters()
        if turns.broker.queue_size() > turns.kept:
            turns.all()
        clock.go(iters.LOOK)
    return len(turns.ran) - before


@pytest.fixture
def turns(turns):
    turns.kept = 0
    """How many packages of the test wait, and shall go on waiting."""
    return turns


def patience(turns) -> float:
    """Seconds after which all that is lost has been noticed."""
    return iters.SEARCH + turns.settings.retry + 4 * iters.LOOK


def bury(turns):
    for delivery in turns.take(100):
        turns.broker.bury(delivery)


def purge(turns):
    turns.broker.purge_queue()


def delete(turns):
    turns.broker.delete_queue()


def vanish(turns):
    turns.broker.acknowledge_many([delivery.ack_id for delivery in turns.take(100)])


def entries() -> list[str]:
    """All that is in the cache, which is in files."""
    return sorted(path.name for path in Path(cache._dir).glob("*.djcache"))


@pytest.mark.parametrize("lose", [bury, purge, delete, vanish])
@pytest.mark.parametrize("cached", [None, True, 60])
def test_iter_whose_members_are_all_lost_is_collated(turns, clock, lose, cached):
    numbers = Iter("math.floor", [1.5, 2.5, 3.5], {"task_name": "floors", "group": "numbers"}, cached=cached)
    numbers.run()
    lose(turns)
    assert numbers.result(wait=0) is None
    assert watch(turns, clock, patience(turns)) == 1
    expected = [iters.lost(index) for index in range(3)]
    assert numbers.result() == expected
    assert numbers.result(wait=-1) == expected
    task = numbers.fetch(wait=-1)
    assert (task.id, task.name, task.group, task.success) == (numbers.id, "floors", "numbers", False)
    assert task.func == "math.floor"
    assert Task.objects.count() == (0 if cached else 1)


def test_nothing_is_left_of_a_lost_iter(turns, clock):
    before = entries()
    async_iter("math.floor", [1.5, 2.5])
    assert entries() != before
    purge(turns)
    assert watch(turns, clock, patience(turns)) == 1
    assert (entries(), turns.finisher.iters.open) == (before, {})
    assert (turns.broker.queue_size(), turns.broker.lock_size()) == (0, 0)


def test_nothing_is_left_of_an_iter_that_was_collated(turns):
    before = entries()
    async_iter("math.floor", [1.5, 2.5])
    turns.all()
    assert entries() == before


def test_purged_iter_of_nothing_is_an_empty_list_all_the_same(turns, clock):
    iter_id = async_iter("math.floor", [])
    purge(turns)
    watch(turns, clock, patience(turns))
    assert (result(iter_id), fetch(iter_id).success) == ([], True)


def test_lost_iter_is_collated_once_though_two_monitors_watch_it(turns, clock):
    other = Finisher(turns.settings, turns.broker)
    iter_id = async_iter("math.floor", [1.5])
    purge(turns)
    other.look_after_iters()
    watch(turns, clock, patience(turns))
    other.look_after_iters()
    clock.go(patience(turns))
    other.look_after_iters()
    assert (turns.broker.queue_size(), other.iters.open) == (0, {})
    assert fetch(iter_id).attempt_count == 1


def test_iter_that_another_cluster_has_collated_is_forgotten(turns, clock):
    other = Finisher(turns.settings, turns.broker)
    async_iter("math.floor", [1.5])
    clock.go(1)
    other.look_after_iters()
    assert other.iters.open
    turns.all()
    async_task("math.floor", 1.5)  # the queue is busy
    clock.go(iters.SEARCH)
    other.look_after_iters()
    assert other.iters.open == {}


def test_iter_has_begun_when_one_of_its_members_has_finished(turns, clock):
    other = Finisher(turns.settings, turns.broker)
    iter_id = async_iter("math.floor", [1.5, 2.5])
    clock.go(1)
    for each in turns.finisher, other:
        each.look_after_iters()
        assert each.iters.open[iter_id].said
    turns.turn()
    assert turns.finisher.iters.watchlist.read()[iter_id].said is None
    clock.go(iters.SEARCH)
    other.look_after_iters()
    assert other.iters.open[iter_id].said is None


def test_iter_that_was_complete_at_once_has_begun_too(turns, clock):
    iter_id = async_iter("math.floor", [1.5])
    turns.turn()
    clock.go(iters.SEARCH)
    turns.finisher.look_after_iters()
    assert turns.finisher.iters.open[iter_id].said is None


def test_sign_of_life_is_heard_when_an_iter_was_nearly_given_up(turns, clock):
    other = Finisher(turns.settings, turns.broker)
    async_iter("math.floor", [1.5, 2.5, 3.5])
    first, second, lost = turns.take(3)
    turns.broker.acknowledge(lost.ack_id)
    other.finish([turns.run(first)])
    turns.finisher.look_after_iters()
    clock.go(turns.settings.retry + 3 * iters.LOOK)
    other.finish([turns.run(second)])
    turns.finisher.look_after_iters()
    assert turns.broker.queue_size() == 0
    clock.go(turns.settings.retry + 3 * iters.LOOK)
    turns.finisher.look_after_iters()
    assert turns.broker.queue_size() == 1


def test_members_that_come_back_from_the_dead_replace_what_was_lost(turns, clock):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    bury(turns)
    watch(turns, clock, patience(turns))
    assert not fetch(iter_id).success
    turns.broker.requeue_dead()
    turns.all()
    assert (result(iter_id), fetch(iter_id).success) == ([1, 2], True)


# what is not lost


def test_members_that_wait_in_a_slow_queue_are_not_lost(turns, clock):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    turns.kept = 2
    assert watch(turns, clock, 3600) == 0
    clock.go(3 * iters.PATIENCE)
    assert watch(turns, clock, 600) == 0
    turns.all()
    assert result(iter_id) == [1, 2]


def test_iter_that_a_busy_queue_hides_is_given_up_before_it_is_forgotten(turns, clock):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    purge(turns)
    async_task("math.floor", 1.5)
    turns.kept = 1
    clock.go(watchlist.KEPT - iters.PATIENCE - 600)
    assert watch(turns, clock, 300) == 0
    clock.go(300)
    turns.finisher = Finisher(turns.settings, turns.broker)  # the cluster was started anew
    assert watch(turns, clock, patience(turns)) == 2
    assert result(iter_id) == [iters.lost(0), iters.lost(1)]


def test_members_that_run_for_hours_are_not_lost(turns, clock):
    iter_id = async_iter("math.floor", [1.5, 2.5])
    running = turns.take(2)
    assert watch(turns, clock, 3 * 3600) == 0
    turns.finisher.finish([turns.run(delivery) for delivery in running])
    turns.all()
    assert result(iter_id) == [1, 2]


def test_members_that_are_hidden_are_not_lost_before_they_are_due(turns, clock):
    iter_id = async_iter.options(delay=7200)("math.floor", [1.5, 2.5])
    assert turns.broker.queue_size() == 0
    assert watch(turns, clock, 7000) == 0
    purge(turns)
    assert watch(turns, clock, 200 + patience(turns)) == 1
    assert result(iter_id) == [iters.lost(0), iters.lost(1)]


def test_members_that_schedules_hold_back_are_not_lost_when_those_are_late(turns, clock, monkeypatch):
    monkeypatch.setattr(type(turns.broker), "supports_delay", 0)
    async_iter.options(delay=600)("math.floor", [1.5, 2.5])
    assert watch(turns, clock, 3600) == 0


def test_members_that_are_tried_again_are_not_lost(make_turns, settings, clock):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"max_attempts": 4}
    turns = make_turns()
    turns.kept = 0
    iter_id = async_iter(math.floor, ["no number"])
    (member,) = turns.take()
    other = Finisher(turns.settings, turns.broker)  # that of another cluster, which runs the member
    for attempt in (1, 2, 3):
        other.finish([turns.run(member._replace(attempt=attempt))])  # hidden now
        assert watch(turns, clock, turns.settings.retry + iters.LOOK) == 0
    purge(turns)
    assert watch(turns, clock, 2 * patience(turns)) == 1
    assert result(iter_id) == [iters.lost(0)]


def test_members_in_the_queue_of_another_cluster_are_its_own_affair(turns, clock):
    elsewhere = get_broker("elsewhere")
    async_iter("math.floor", [1.5, 2.5], broker=elsewhere)
    async_iter("math.floor", [1.5, 2.5], cluster="elsewhere")
    assert watch(turns, clock, 3 * 3600) == 0
    assert turns.finisher.iters.open == {}
    assert len(Finisher(turns.settings, elsewhere).iters.watchlist.read()) == 2
    elsewhere.delete_queue()


def test_sizes_are_believed_when_they_are_exact(turns, clock, monkeypatch):
    monkeypatch.setattr(type(turns.broker), "sizes_lag", 600)
    iter_id = async_iter("math.floor", [1.5])
    purge(turns)
    assert watch(turns, clock, 600) == 0
    watch(turns, clock, patience(turns))
    assert result(iter_id) == [iters.lost(0)]


@pytest.mark.parametrize("tells", [True, False], ids=["always busy", "does not tell"])
def test_where_nobody_can_tell_a_day_is_enough(turns, clock, monkeypatch, tells):
    monkeypatch.setattr(type(turns.broker), "supports_lock_size", tells)
    monkeypatch.setattr(type(turns.broker), "lock_size", lambda self: 1)
    iter_id = async_iter("math.floor", [1.5])
    purge(turns)
    assert watch(turns, clock, 3600) == 0
    clock.go(iters.PATIENCE)
    watch(turns, clock, 60)
    assert result(iter_id) == [iters.lost(0)]


def test_queue_is_asked_once_a_look_and_the_cache_not_at_all_while_members_wait(turns, clock, monkeypatch):
    for _ in range(5):
        async_iter("math.floor", [1.5, 2.5])
    turns.kept = 10
    clock.go(1)
    turns.finisher.look_after_iters()
    clock.go(turns.settings.retry + 3 * iters.LOOK)
    asked = []
    monkeypatch.setattr(type(turns.broker), "queue_size", lambda self: asked.append(1) or 10)
    monkeypatch.setattr(turns.finisher.iters, "search_at", clock.now + 3600)
    monkeypatch.setattr(turns.finisher.iters.cache, "at_work", None)
    turns.finisher.look_after_iters()
    assert asked == [1]


# the sender


class Counting:
    """Notes what a cache is asked."""

    def __init__(self, monkeypatch) -> None:
        self.calls: list[str] = []
        self.inside = False
        for name in ("add", "get", "set", "get_many", "set_many", "delete", "delete_many", "incr", "touch"):
            monkeypatch.setattr(cache, name, self._noting(name, getattr(cache, name)))

    def _noting(self, name, call):
        def noting(*args, **kwargs):
            if self.inside:
                return call(*args, **kwargs)
            self.calls.append(name)
            self.inside = True
            try:
                return call(*args, **kwargs)
            finally:
                self.inside = False

        return noting


def test_sender_asks_the_cache_once_for_an_iter_and_not_for_other_tasks(turns, monkeypatch):
    asked = Counting(monkeypatch)
    async_iter("math.floor", range(100))
    assert asked.calls == ["add"]
    async_task("math.floor", 1.5, cached=True)
    assert asked.calls == ["add"]


def test_nothing_is_written_down_in_sync_mode(turns, monkeypatch):
    asked = Counting(monkeypatch)
    async_iter("math.floor", [1.5], sync=True)
    assert asked.calls == []


def test_cache_that_is_away_holds_no_sender_up(turns, monkeypatch, caplog):
    def away(*_, **__):
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "add", away)
        iter_id = async_iter("math.floor", [1.5])
    assert "not watched" in caplog.text
    turns.all()
    assert result(iter_id) == [1]


def test_iter_that_could_not_be_sent_is_not_watched(turns, monkeypatch):
    def away(*_):
        raise BrokerUnavailable("away")

    monkeypatch.setattr(type(turns.broker), "enqueue_many", away)
    with pytest.raises(BrokerUnavailable):
        async_iter("math.floor", [1.5, 2.5])
    assert turns.finisher.iters.watchlist.read() == {}


def test_iter_is_watched_until_nobody_can_want_it_any_more(turns, clock, monkeypatch):
    kept = []
    add = cache.add
    monkeypatch.setattr(cache, "add", lambda key, value, timeout: kept.append(timeout) or add(key, value, timeout))
    async_iter("math.floor", [1.5])
    async_iter.options(delay=3600)("math.floor", [1.5])
    assert kept == [watchlist.KEPT + 1, watchlist.KEPT + 3601]


class Label(str, enum.Enum):  # noqa: UP042 - what a project may have
    """A class that the cluster does not have any more."""

    NAME = "named"


def test_what_is_written_down_can_be_read_where_the_code_is_gone(turns):
    async_iter(math.floor, [1.5], task_name=Label.NAME, group=Label.NAME, save=1, cluster="test")
    (found,) = turns.finisher.iters.watchlist.read().values()
    assert found.said["func"] == "math.floor"
    assert {type(each) for each in found.said["iter_options"].values()} == {str, bool}


@pytest.mark.parametrize("use_tz", [True, False])
def test_what_is_written_down_survives_a_cache_that_writes_json(turns, settings, use_tz):
    settings.USE_TZ = use_tz
    before = timezone.now()
    async_iter(math.floor, [1.5], task_name="named", cached=60)
    (found,) = turns.finisher.iters.watchlist.read().values()
    assert watchlist.Watched(*json.loads(json.dumps(found))) == found
    assert before <= iters.restored(found.said)["started"] <= timezone.now()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rolled_back", [True, False])
def test_iter_is_watched_from_the_commit_after_which_it_is_sent(turns, rolled_back):
    with transaction.atomic():
        async_iter.options(on_commit=True)("math.floor", [1.5])
        assert turns.finisher.iters.watchlist.read() == {}
        transaction.set_rollback(rolled_back)
    assert len(turns.finisher.iters.watchlist.read()) == turns.broker.queue_size() == (0 if rolled_back else 1)


@pytest.mark.django_db(transaction=True)
def test_iter_that_is_queued_in_a_transaction_is_not_lost_before_that_commits(turns, clock, monkeypatch):
    monkeypatch.setattr(type(turns.broker), "alias", "default")
    with transaction.atomic():
        iter_id = async_iter("math.floor", [1.5])
        purge(turns)  # whom a transaction hides, the queue does not count
        assert watch(turns, clock, 3600) == 0
    assert watch(turns, clock, patience(turns)) == 1
    assert result(iter_id) == [iters.lost(0)]


@pytest.mark.django_db(transaction=True)
def test_iter_that_is_rolled_back_with_its_queue_is_never_collated(turns, clock, monkeypatch):
    monkeypatch.setattr(type(turns.broker), "alias", "default")
    with transaction.atomic():
        async_iter("math.floor", [1.5])
        purge(turns)
        transaction.set_rollback(True)
    assert watch(turns, clock, 3600) == 0
    assert turns.finisher.iters.open == {}
    assert not Task.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_iter_that_was_collated_before_its_sender_noticed_the_commit_is_not_watched_again(turns, monkeypatch):
    monkeypatch.setattr(type(turns.broker), "alias", "default")
    with transaction.atomic():
        transaction.on_commit(turns.all)  # the cluster is quicker
        async_iter("math.floor", [1.5], save=False)
    assert turns.finisher.iters.watchlist.read() == {}


def test_look_whose_cache_is_away_says_so(turns, clock, monkeypatch):
    def away(*_):
        raise ConnectionError("away")

    monkeypatch.setattr(cache, "get_many", away)
    with pytest.raises(ResultsUnavailable):
        turns.finisher.look_after_iters()
