"""Tests of chains."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django_q.exceptions import OptionError, UnsendableTask
from django_q.models import Task
from django_q.tasks import Chain, async_chain, fetch_group, result_group

pytestmark = pytest.mark.django_db

RAN: list = []


def note(label, fails=False):
    RAN.append(label)
    if fails:
        raise ValueError(f"no {label}")
    return label


@pytest.fixture(autouse=True)
def _nothing_ran():
    RAN.clear()


def links(*labels):
    return [(note, (label,)) for label in labels]


def test_links_run_one_after_another(turns):
    group = async_chain([(note, ("a",)), (note, ("b",), {}), (note, ["c"], {"fails": False})])
    for expected in (["a"], ["a", "b"], ["a", "b", "c"]):
        assert turns.broker.queue_size() == 1
        turns.turn()
        assert expected == RAN
    assert turns.all() == 0
    assert result_group(group) == ["a", "b", "c"]


def test_callers_list_is_not_changed(turns):
    chain = [("math.floor", [1.5], {"save": True}), "time.time"]
    async_chain(chain)
    turns.all()
    assert chain == [("math.floor", [1.5], {"save": True}), "time.time"]


@pytest.mark.parametrize("changes", [{"save_limit": -1}, {}])
def test_chain_goes_on_when_a_success_is_not_saved(make_turns, settings, changes):
    settings.Q_CLUSTER = settings.Q_CLUSTER | changes
    turns = make_turns()
    async_chain(links("a", "b", "c"), **({} if changes else {"save": False}))
    turns.all()
    assert RAN == ["a", "b", "c"]
    assert not Task.objects.exists()


def test_chain_stops_at_a_failed_link_and_its_results_say_where(turns):
    chain = Chain([(note, ("a",)), (note, ("b", True), {"ack_failure": True}), (note, ("c",))])
    chain.run()
    turns.all()
    assert RAN == ["a", "b"]
    assert [task.success for task in chain.fetch(wait=-1)] == [True, False]
    assert [task.result for task in chain.fetch(failures=False, wait=-1)] == ["a"]
    assert chain.result(wait=-1)[1].startswith("no b : Traceback")
    assert chain.current() == 2


@pytest.mark.parametrize("cached", [False, True])
def test_failed_link_is_tried_until_its_attempts_are_used_up(make_turns, settings, cached):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"max_attempts": 2}
    turns = make_turns()
    chain = Chain([(note, ("b", True)), *links("c")], cached=cached)
    chain.run()
    first = turns.take()[0]
    turns.finisher.finish([turns.run(first)])
    assert chain.fetch(wait=1)[0].success is False
    assert not chain._has_ended()
    turns.finisher.finish([turns.run(first._replace(attempt=2))])
    assert turns.all() == 0
    assert RAN == ["b", "b"]
    assert chain._has_ended()
    assert chain.result(wait=-1)[0].startswith("no b")


@pytest.mark.parametrize("saved", [True, False])
def test_redelivered_link_does_not_send_its_next_again(turns, saved):
    async_chain(links("a", "b", "c"), save=saved)
    first = turns.take()[0]
    turns.finisher.finish([turns.run(first)])
    turns.finisher.finish([turns.run(first)])  # the acknowledgement was lost
    assert RAN == ["a", "a"]
    assert turns.broker.queue_size() == 1
    turns.turn()
    turns.finisher.finish([turns.run(first)])
    turns.all()
    turns.finisher.finish([turns.run(first)])
    turns.all()
    assert [label for label in RAN if label != "a"] == ["b", "c"]


def test_next_link_with_a_row_is_not_sent_again_without_cache(turns):
    async_chain(links("a", "b"))
    first = turns.take()[0]
    turns.finisher.finish([turns.run(first)])
    turns.all()
    cache.clear()
    turns.finisher.finish([turns.run(first)])
    assert turns.all() == 0


def test_kill_between_saving_and_sending_breaks_no_chain(turns):
    group = async_chain(links("a", "b"))
    first = turns.take()[0]
    turns.finisher.save([turns.run(first)])  # and here the monitor is killed; the lease brings the package back
    turns.finisher.finish([turns.run(first)])
    turns.all()
    assert result_group(group) == ["a", "b"]


def test_chain_needs_no_cache(turns):
    turns.finisher.sent_links.cache = type("Broken", (), {"key": staticmethod(str)})()
    async_chain(links("a", "b"))
    turns.all()
    assert RAN == ["a", "b"]


def test_cached_chain(turns):
    chain = Chain(cached=True)
    chain.append("math.copysign", 1, -1)
    assert chain.append("math.floor", 1) == 2
    assert chain.current() is None
    group = chain.run()
    assert chain.current() == 0
    turns.all()
    assert chain.result() == [-1.0, 1]
    assert chain.group == group
    assert not Task.objects.exists()


def test_chain_stays_on_its_cluster(make_turns):
    make_turns()
    async_chain(links("a", "b"), cluster="other")
    from django_q.brokers import get_broker
    from django_q.execution import Executor
    from django_q.finishing import Finisher
    from django_q.settings import current_settings

    other = get_broker("other")
    executor, finisher = Executor(current_settings()), Finisher(current_settings(), other)
    while some := other.dequeue_many(1, 0):
        packages = [executor.codec.loads(each.package) for each in some]
        assert [package["cluster"] for package in packages] == ["other"]
        finisher.finish([executor.execute(packages[0], ack_id=some[0].ack_id)])
    assert RAN == ["a", "b"]


def test_options_of_links_and_of_the_chain(turns):
    hook = "builtins.print"
    group = async_chain(
        [("math.floor", (1.5,), {"task_name": "first", "hook": hook}), ("math.ceil", (1.5,), {"timeout": 3})],
        timeout=9,
    )
    first = turns.take()[0]
    package = turns.executor.codec.loads(first.package)
    assert (package["name"], package["timeout"], package["hook"]) == ("first", 9, hook)
    turns.finisher.finish([turns.run(first)])
    second = turns.executor.codec.loads(turns.take()[0].package)
    assert (second["timeout"], second["group"], second["kwargs"]) == (3, group, {})
    assert "hook" not in second


def test_wrong_links_are_refused_before_anything_is_sent(turns):
    with pytest.raises(UnsendableTask, match="link 2, argument 1"):
        async_chain([(note, ("a",)), (note, (lambda: 1,))])
    with pytest.raises(UnsendableTask, match="lambda"):
        async_chain([(note, ("a",)), (lambda: 1, ())])
    with pytest.raises(UnsendableTask, match=r"is \(function"):
        async_chain([(note, "a", {}, 1)])
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        async_chain(links("a"), timout=3)
    with pytest.raises(OptionError, match="give it to the whole call"):
        async_chain([(note, ("a",), {"cluster": "x"})])
    assert turns.broker.queue_size() == 0


def test_sync_chain(settings):
    settings.Q_CLUSTER = {"name": "sync", "redis": {"host": "nowhere.invalid"}}
    group = async_chain([*links("a", "b"), (note, ("c", True)), *links("d")], sync=True)
    assert RAN == ["a", "b", "c"]
    assert [task.success for task in fetch_group(group)] == [True, True, False]
    chain = Chain([(note, ("c", True)), *links("d")], sync=True)
    chain.run()
    assert chain.result()[0].startswith("no c")


def test_sync_chain_of_a_thousand_links():
    async_chain([("math.floor", (1,))] * 300, sync=True, group="long")
    assert Task.get_group_count("long") > 200


def test_chain_that_changes_after_it_has_run_begins_anew(turns):
    chain = Chain(links("a"))
    chain.run()
    turns.all()
    assert chain.result() == ["a"]
    chain.append(note, "b")
    assert chain.result() is None
    chain.run()
    turns.all()
    assert chain.result() == ["a", "b"]


def test_result_is_what_is_there_when_the_time_is_over(turns):
    chain = Chain(links("a", "b"))
    chain.run()
    assert chain.result(wait=1) is None
    turns.turn()
    assert chain.result(wait=1) == ["a"]


def test_empty_chain_has_ended(turns):
    chain = Chain()
    chain.run()
    assert chain.result() == []
    assert turns.broker.queue_size() == 0
