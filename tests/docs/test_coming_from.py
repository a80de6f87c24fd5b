"""The example of the pages for users of other task queues runs, and so do its settings."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django_q.settings import ClusterSettings
from django_q.testing import captured_tasks

from tests.docs.pages import DOCS, blocks_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.variant

PAGES = sorted((DOCS / "how-to").glob("from-*.md"))
NAMES = ["celery", "dramatiq", "huey", "rq"]


def block(page: Path, name: str) -> str:
    """Return the Python block of a page for a file."""
    [code] = [each.code for each in blocks_of(page, "python") if each.file == name]
    return code


def test_each_task_queue_has_a_page() -> None:
    assert [page.stem.removeprefix("from-") for page in PAGES] == NAMES


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request) -> Path:
    return request.param


@pytest.fixture
def shop(page, tmp_path, monkeypatch):
    """Return the module of the page."""
    monkeypatch.setattr("django_q.schedules.declarations.DECLARED", declared := {})
    name = f"shop_of_{page.stem.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(block(page, "shop/tasks.py"))
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module(name)
    module.DECLARED_HERE = declared
    yield module
    del sys.modules[name]


@pytest.fixture
def q_cluster(page) -> dict:
    """Return the settings of the page."""
    exec(block(page, "settings.py"), namespace := {})
    return namespace["Q_CLUSTER"]


@pytest.mark.django_db
def test_order_is_confirmed_after_the_commit(shop, q_cluster) -> None:
    with captured_tasks(**q_cluster) as tasks:
        with transaction.atomic():
            shop.place(7)
            assert [each.func for each in tasks.sent] == [f"{shop.__name__}.remind"]
        [reminder] = tasks.assert_sent(shop.remind, times=1)
        assert reminder.queue == "mail"
        assert reminder.options["delay"] == pytest.approx(3600, abs=5)
        tasks.run()
        assert shop.log == ["confirmed 7"]
        tasks.run(until=timedelta(hours=2))
    assert shop.log == ["confirmed 7", "reminded 7"]


@pytest.mark.django_db
def test_pictures_are_resized_and_packing_precedes_sending(shop, q_cluster) -> None:
    with captured_tasks(**q_cluster) as tasks:
        shop.publish(["one", "two"])
        tasks.run()
        assert shop.log == [["small one", "small two"]]
        shop.close(7)
        tasks.run()
    assert shop.log[1:] == ["packed 7", "sent 7"]


def test_report_is_due_at_three_in_the_morning(shop) -> None:
    [declaration] = shop.DECLARED_HERE.values()
    assert declaration.func == f"{shop.__name__}.report"
    assert declaration.columns()["cron"] == "0 3 * * *"


def test_settings_are_valid(q_cluster) -> None:
    settings = ClusterSettings.from_mapping(q_cluster)
    assert (settings.max_attempts, settings.retry, settings.others) == (3, 60, {})
