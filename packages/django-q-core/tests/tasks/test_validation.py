"""Objects of `__main__` are rejected at the call, and sync mode runs copies."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from django.db import transaction
from django_q.exceptions import ScheduleError, UnsendableTask
from django_q.tasks import async_bulk, async_chain, async_iter, async_task, result, schedule
from django_q.wire.validation import main_global

import __main__

pytestmark = pytest.mark.django_db

SEEN: list = []


def show(*args, **kwargs):
    return args, kwargs


def spoil(values):
    values["a"] = "changed by the task"
    SEEN.append(values)


class Unreadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def main_function(*args):
    return "ran"


class MainClass:
    def method(self):
        return "ran"

    @classmethod
    def of_class(cls):
        return "ran"


@pytest.fixture
def main(monkeypatch):
    """Functions and classes of the running script."""
    for name in ("main_function", "MainClass"):
        thing = globals()[name]
        monkeypatch.setattr(thing, "__module__", "__main__")
        monkeypatch.setattr(__main__, name, thing, raising=False)
    return __main__


# __main__

PARTS = [
    ("function", lambda main: (main.main_function, (), {})),
    ("function", lambda main: ("__main__.main_function", (), {})),
    ("function", lambda main: (main.MainClass, (), {})),
    ("function", lambda main: (main.MainClass().method, (), {})),
    ("function", lambda main: (main.MainClass.of_class, (), {})),
    ("function", lambda main: (partial(show, main.main_function), (), {})),
    ("argument 2", lambda main: (show, (1, main.main_function), {})),
    ("argument 1", lambda main: (show, ([{"deep": main.MainClass()}],), {})),
    ("argument 'x'", lambda main: (show, (), {"x": main.MainClass})),
    ("option 'hook'", lambda main: (show, (), {"hook": main.main_function})),
    ("option 'hook'", lambda main: (show, (), {"hook": "__main__.main_function"})),
    ("link 2, function", lambda main: (show, (), {"chain": [main.main_function]})),
    ("link 2, function", lambda main: (show, (), {"chain": ["__main__.main_function"]})),
    ("link 2, argument 1", lambda main: (show, (), {"chain": [(show, (main.MainClass(),))]})),
    ("link 2, option 'hook'", lambda main: (show, (), {"chain": [(show, (), {"hook": "__mp_main__.hook"})]})),
]


@pytest.mark.parametrize(("part", "make"), PARTS)
def test_what_belongs_to_the_running_script_is_refused_and_named(turns, main, part, make):
    func, args, kwargs = make(main)
    with pytest.raises(UnsendableTask, match=rf"The {part} of .* needs __(mp_)?main__\..* define it in a module"):
        async_task(func, *args, **kwargs)
    assert turns.broker.queue_size() == 0


def test_every_call_refuses_it(turns, main):
    for send in (
        lambda: async_bulk([show, main.main_function]),
        lambda: async_bulk([(show, (main.MainClass(),))]),
        lambda: async_chain([show, main.main_function]),
        lambda: async_chain([show, "__main__.main_function"]),
        lambda: async_iter(main.main_function, [1, 2]),
        lambda: async_iter(show, [1, main.MainClass()]),
        lambda: async_task.options(delay=60)(main.main_function),
    ):
        with pytest.raises(UnsendableTask, match="running script"):
            send()
    assert turns.broker.queue_size() == 0
    for func in (main.main_function, "__main__.main_function"):
        with pytest.raises(ScheduleError, match="running script"):
            schedule(func)


def test_sync_mode_runs_it_in_this_process(main):
    ids = [
        async_task(main.main_function, sync=True),
        async_task("__main__.main_function", sync=True),
        async_task(main.MainClass().method, sync=True),
    ]
    assert [result(each) for each in ids] == ["ran"] * 3
    assert result(async_task(show, main.MainClass, sync=True)) == ((main.MainClass,), {})


def test_text_is_no_function(turns):
    task_id = async_task(show, "__main__", ("__main__", "main_function"), __main__="__main__.f")
    turns.all()
    assert result(task_id) == (("__main__", ("__main__", "main_function")), {"__main__": "__main__.f"})


def test_repeated_module_name_is_recognised(main):
    assert main_global(pickle.dumps([main.main_function, main.MainClass], 5)) == "__main__.main_function"
    assert main_global(pickle.dumps(["__main__", show, main.MainClass], 4)) == "__main__.MainClass"
    assert main_global(pickle.dumps(["__main__", "show", show, Path("__main__"), 1.5, None, {}], 5)) is None


def test_a_script_cannot_send_its_own_function(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import django\ndjango.setup()\nfrom django_q.tasks import async_task\n"
        "def f(): pass\n"
        "try: async_task(f)\n"
        "except TypeError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert done.stdout.startswith("UnsendableTask The function of __main__.f needs __main__.f"), done.stderr


# sync mode


def test_sync_task_does_not_change_the_callers_objects():
    values = {"a": "as sent"}
    async_task(spoil, values, sync=True)
    async_iter(spoil, [(values,)], sync=True)
    async_chain([(spoil, (values,)), (spoil, (values,))], sync=True)
    async_bulk([(spoil, (values,))], sync=True)
    assert values == {"a": "as sent"}


@pytest.mark.django_db(transaction=True)
def test_sync_task_on_commit_gets_the_arguments_of_the_call():
    values = {"a": "as sent"}
    with transaction.atomic():
        task_id = async_task.options(on_commit=True, sync=True)(show, values)
        iter_id = async_iter.options(on_commit=True, sync=True)(show, [(values,)])
        values["a"] = "changed later"
    assert result(task_id) == (({"a": "as sent"},), {})
    assert result(iter_id) == [(({"a": "as sent"},), {})]


def test_argument_that_does_not_unpickle_is_refused_in_sync_mode():
    with pytest.raises(UnsendableTask, match=r"can be pickled, but not unpickled \(ValueError"):
        async_task(show, Unreadable(), sync=True)
