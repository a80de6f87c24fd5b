"""The conformance suite of back ends of `django.tasks`, beside a cluster on each broker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from .products import PRODUCTS, VARIANTS, settings_of
from .site import Site

pytest.importorskip("django_q.django_tasks.api", reason="Django 5.2 needs django-tasks", exc_type=ImportError)

MIN_PASSED = 40
"""Number of tests that a back end with all capabilities passes at least, beside running workers."""

PLUGINS = ["-p", "no:django", "-p", "no:xdist", "-p", "no:cacheprovider"]
"""Options of pytest: the tests use the database of the cluster."""

TASKS = """
TASKS = {"default": {"BACKEND": "django_q.backend.DjangoQBackend", "QUEUES": ["default", "mail"]}}
"""

SUITE = """
import django

django.setup()

from django_q.testing import TaskBackendConformance


class TestSite(TaskBackendConformance):
    attempts = 2

    def test_all_features_are_supported(self, backend):
        flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
        assert [getattr(backend, flag) for flag in flags] == [True] * 4
"""

PLACES = [pytest.param(product, marks=[pytest.mark.variant] * (product in VARIANTS)) for product in PRODUCTS]


@pytest.fixture(params=[*PLACES, "postgres", "mariadb"])
def site(request, make_site, tmp_path, migrated):
    """A site with the back end, whose tasks are tried twice."""
    settings = {"ack_failures": False, "max_attempts": 2, "retry": 2, "workers": 2}
    if request.param in ("postgres", "mariadb"):
        site = make_site(request.param, **settings)
    else:
        shutil.copy(migrated.sqlite(), tmp_path / "db.sqlite3")
        q_cluster = {"name": f"acceptance-{time.time_ns()}", **settings, **settings_of(request, request.param)[0]}
        site = Site(tmp_path, q_cluster, None, ("django_q_orm",))
    with (site.folder / "site_settings.py").open("a") as file:
        file.write(TASKS)
    (site.folder / "test_site.py").write_text(SUITE)
    yield site
    site.close()


def test_back_end_keeps_its_promises_on_each_broker(site) -> None:
    with site.cluster() as cluster:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *PLUGINS, "test_site.py"],
            env=site.environment, cwd=site.folder, text=True, capture_output=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{cluster.log}"
        assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= MIN_PASSED, done.stdout
        assert cluster.stop() == 0
