"""Newer options never capture keywords of the function, and `func` is a keyword like any other."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from datetime import timedelta

import pytest
from django.db import transaction
from django_q import tasks
from django_q.exceptions import OptionError
from django_q.execution import Executor
from django_q.functions import resolve
from django_q.models import Schedule
from django_q.settings import current_settings
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    aasync_task,
    async_bulk,
    async_chain,
    async_iter,
    async_task,
    fetch,
    result,
    result_group,
    schedule,
)
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db

NEW_OPTIONS = ["delay", "eta", "on_commit"]
CALLS = [async_task, aasync_task, async_iter]


def show(*args, **kwargs):
    return args, kwargs


def call(each, *args, **kwargs):
    sent = each(*args, **kwargs)
    return asyncio.run(sent) if inspect.iscoroutine(sent) else sent


# the function's own keywords


@pytest.mark.parametrize("name", NEW_OPTIONS)
def test_new_option_as_a_keyword_is_the_functions_own(turns, name):
    ids = [
        async_task(show, 1, **{name: 5}),
        *async_bulk([(show, (1,), {name: 5})]),
        AsyncTask(show, 1, **{name: 5}).run(),
    ]
    iters = [async_iter(show, [1], **{name: 5}), Iter(show, [1], {name: 5}).run()]
    group = async_chain([(show, (1,), {name: 5})])
    chain = Chain()
    chain.append(show, 1, **{name: 5})
    groups = [group, chain.run()]
    turns.all()
    assert [result(each) for each in ids] == [((1,), {name: 5})] * 3
    assert [result(each) for each in iters] == [[((1,), {name: 5})]] * 2
    assert [result_group(each) for each in groups] == [[((1,), {name: 5})]] * 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", NEW_OPTIONS)
def test_new_option_of_an_async_call_is_the_functions_keyword(turns, name):
    task_id = call(aasync_task, show, 1, **{name: 5})
    turns.all()
    assert result(task_id) == ((1,), {name: 5})


def test_new_options_are_options_in_q_options(turns):
    async_task(show, 1, q_options={"delay": 60})
    async_iter(show, [1], q_options={"delay": 60})
    AsyncTask(show, 1, q_options={"delay": timedelta(minutes=1)}).run()
    Iter(show, [1], {"q_options": {"delay": 60}}).run()
    assert turns.broker.queue_size() == 0


def test_calls_without_keywords_take_new_options_as_keywords(turns):
    async_bulk([show, show], delay=60)
    async_bulk([show], q_options={"delay": 60})
    async_chain([show, show], delay=60)
    async_chain([show, show], q_options={"delay": 60, "group": "inside"})
    assert turns.broker.queue_size() == 0


@pytest.mark.parametrize("name", NEW_OPTIONS)
def test_new_option_in_one_of_many_is_misplaced(turns, name):
    with pytest.raises(OptionError, match="whole call"):
        async_bulk([(show, (), {"q_options": {name: 5}})])
    with pytest.raises(OptionError, match="whole call"):
        async_chain([(show, (), {"q_options": {name: 5}})])


# the builder


def test_builder_takes_all_options_and_its_call_none(turns):
    own = {"group": "own", "timeout": 1, "q_options": {"a": 1}, "delay": 2, "options": 3}
    send = async_task.options(group="theirs", timeout=30, task_name="built")
    ids = [send(show, 1, **own), send(show, 2)]
    turns.all()
    assert [result(each) for each in ids] == [((1,), own), ((2,), {})]
    assert {(task.group, task.name) for task in map(fetch, ids)} == {("theirs", "built")}


def test_builder_of_an_iter(turns):
    iter_id = async_iter.options(group="g", delay=0)(show, [1, 2], delay=5)
    turns.all()
    assert result(iter_id) == [((1,), {"delay": 5}), ((2,), {"delay": 5})]
    assert fetch(iter_id).group == "g"


@pytest.mark.django_db(transaction=True)
def test_builder_of_an_asynchronous_call(turns):
    task_id = asyncio.run(aasync_task.options(group="g")(show, 1, delay=5, func=3, self=4))
    turns.all()
    assert result(task_id) == ((1,), {"delay": 5, "func": 3, "self": 4})


@pytest.mark.django_db(transaction=True)
def test_builder_sends_on_commit(turns):
    send = async_task.options(on_commit=True)
    with transaction.atomic():
        send(show)
        assert turns.broker.queue_size() == 0
    assert turns.broker.queue_size() == 1


@pytest.mark.parametrize("each", CALLS)
def test_builder_refuses_invalid_options_at_once(each):
    with pytest.raises(OptionError, match="did you mean 'timeout'"):
        each.options(timout=3)
    with pytest.raises(OptionError, match="delay is '5'"):
        each.options(delay="5")


def test_builder_may_be_sent_itself(turns):
    send = pickle.loads(pickle.dumps(async_task.options(group=42)))
    task_id = send(show, 1)
    turns.all()
    assert fetch(task_id).group == "42"


# functions as before


@pytest.mark.parametrize("each", CALLS)
def test_call_is_still_a_function_found_by_its_path(each):
    assert inspect.isfunction(each)
    assert pickle.loads(pickle.dumps(each)) is each
    assert resolve(f"django_q.tasks.{each.__name__}") is each
    assert next(iter(inspect.signature(each).parameters)) == "func"
    assert each.__doc__
    assert "options" in each.options.__doc__


def test_call_can_be_a_task_and_a_schedule(turns):
    async_task(async_task, show, 1)
    async_task("django_q.tasks.async_task", "math.floor", 1.5)
    turns.all()
    assert len(turns.ran) == 4
    assert schedule(tasks.async_task, "math.floor", 1.5).func == "django_q.tasks.sending.async_task"


# func


def test_keyword_called_func_is_the_functions_own(turns):
    task = AsyncTask(show, func=3, self=4)
    chain = Chain()
    chain.append(show, func=3, self=4)
    ids = [async_task(show, func=3, self=4), *async_bulk([(show, (), {"func": 3, "self": 4})]), task.run()]
    group = chain.run()
    iter_id = async_iter(show, [()], func=3, self=4)
    turns.all()
    assert [result(each) for each in ids] == [((), {"func": 3, "self": 4})] * 3
    assert result_group(group) == [((), {"func": 3, "self": 4})]
    assert result(iter_id) == [((), {"func": 3, "self": 4})]


def test_keyword_called_func_of_a_schedule_is_the_functions_own(clockwork):
    schedule("math.floor", func=3)
    assert Schedule.objects.get().kwargs == "{'func': 3}"
    [package] = clockwork().play(Schedule.objects.get().next_run)
    assert package["kwargs"] == {"func": 3}


def test_executor_passes_any_keywords():
    own = {"func": 1, "self": 2, "package": 3, "task": 4, "sender": 5}
    outcome = Executor(current_settings()).execute(new_package(show, (), own))
    assert outcome.success
