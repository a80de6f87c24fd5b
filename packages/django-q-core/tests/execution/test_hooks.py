"""A hook gets its task, and a failing one affects nothing else."""

from __future__ import annotations

import pytest
from django_q.exceptions import TimeoutException
from django_q.execution import hooks
from django_q.models import Task

TASK = Task(id="0" * 32, name="a-b-c-d", result=42)


@pytest.fixture
def reported(monkeypatch) -> list[BaseException]:
    errors: list[BaseException] = []
    monkeypatch.setattr(hooks.reporters, "report", lambda error, settings: errors.append(error))
    return errors


def test_hook_gets_the_task() -> None:
    got: list[Task] = []
    assert hooks.run_hook(got.append, TASK)
    assert got == [TASK]


def test_hook_is_found_by_its_path(capsys) -> None:
    assert hooks.run_hook("builtins.print", TASK)
    assert capsys.readouterr().out == "a-b-c-d\n"


@pytest.mark.parametrize("error", [ValueError("oh"), SystemExit(1), TimeoutException("slow")])
def test_hook_that_raises_is_logged_and_reported(error, reported, caplog) -> None:
    def broken(task: Task) -> None:
        raise error

    assert not hooks.run_hook(broken, TASK)
    assert reported == [error]
    assert "broken" in caplog.text
    assert "a-b-c-d" in caplog.text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere.at.all", "Function 'nowhere.at.all' is not defined. No module named 'nowhere'."),
        ("math.pi", "'math.pi' is a float and cannot be called"),
        ("", "'' is a module and cannot be called"),
    ],
)
def test_hook_that_cannot_be_found_is_named(path, sentence, reported, caplog) -> None:
    assert not hooks.run_hook(path, TASK)
    assert sentence in str(reported[0])
    assert sentence in caplog.text


def test_old_receiver_calls_the_hook_of_a_task(capsys) -> None:
    hooks.call_hook(Task, Task(id="1", name="with-hook", hook="builtins.print"))
    hooks.call_hook(Task, Task(id="2", name="without"))
    assert capsys.readouterr().out == "with-hook\n"
