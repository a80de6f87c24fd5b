"""The recipes do what the page says."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django_q.testing import captured_tasks, immediate

from tests.docs.pages import DOCS, blocks_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def recipe(monkeypatch):
    """Return a function that imports the block of the page with some text."""

    def load(text: str) -> ModuleType:
        [block] = [each for each in blocks_of(DOCS / "how-to" / "recipes.md", "python") if text in each.code]
        module = ModuleType("recipe")
        monkeypatch.setitem(sys.modules, "recipe", module)
        exec(compile(block.code, "recipes.md", "exec"), vars(module))
        return module

    return load


@pytest.fixture
def ann():
    return User.objects.create(username="ann", email="ann@example.com")


def test_second_mail_follows_after_a_day(recipe, ann):
    with captured_tasks() as tasks:
        recipe("def welcome").welcome(ann)
        tasks.run()
        assert [each.subject for each in mail.outbox] == ["Welcome"]
        tasks.run(until=timedelta(days=1, seconds=5))
    assert [each.subject for each in mail.outbox] == ["Welcome", "Three tips"]


def test_report_is_mailed_or_its_failure_is(recipe, ann, settings):
    settings.ADMINS = [("Ann", "ann@example.com")]
    reports = recipe("def request_report")
    with captured_tasks(max_attempts=1, ack_failures=True) as tasks:
        reports.request_report(ann)
        tasks.run()
        assert (mail.outbox[0].to, mail.outbox[0].body) == (["ann@example.com"], "There are 1 users.")
        reports.mail_report(SimpleNamespace(success=False, name="x", result="no paper", args=[ann.pk]))
        tasks.run()
    assert "No report: x" in mail.outbox[1].subject


def test_change_of_a_model_sends_its_key(recipe):
    from django.db.models.signals import post_save

    recipe("def user_changed")
    try:
        with captured_tasks() as tasks:
            user = User.objects.create(username="ben")
            tasks.assert_sent("mysite_search.search.index", times=1, args=["auth.User", user.pk])
    finally:
        assert post_save.disconnect(sender=User, dispatch_uid="mysite_search.user_changed")


def test_index_has_the_row_that_is_there(recipe, ann, monkeypatch):
    haystack = MagicMock(connection_router=MagicMock(for_write=lambda instance: ["default"]))
    monkeypatch.setitem(sys.modules, "haystack", haystack)
    index = recipe("def index").index
    index("auth.User", ann.pk)
    index("auth.User", ann.pk + 1)
    updated = haystack.connections["default"].get_unified_index().get_index(User).update_object
    updated.assert_called_once_with(ann, using="default")


def test_result_of_a_program_is_read(recipe, capsys):
    with immediate():
        recipe("subprocess.run")
        recipe("async_iter")
    date, total = [line for line in capsys.readouterr().out.splitlines() if line]
    assert "UTC" in date
    assert float(total) == pytest.approx(sum((x * x + 1) ** 0.5 for x in range(8)))


def test_health_needs_a_cluster(recipe):
    cache.clear()  # the cluster of another test is listed for some seconds
    assert recipe("def health").health(None).status_code == 503
