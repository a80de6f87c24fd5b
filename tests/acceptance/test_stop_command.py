"""One of several clusters is stopped by a command: from code, and from its page in the admin."""

from __future__ import annotations

import pytest

from .saved import saved
from .site import RunningCluster, eventually

ADMIN_SETTINGS = """
INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages"]
ALLOWED_HOSTS = ["testserver"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "site_urls"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
STATIC_URL = "static/"
"""

URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""

PRESS = """
from django.contrib.auth.models import Permission, User
from django.test import Client

user, _ = User.objects.get_or_create(username="operator", is_staff=True)
user.user_permissions.set(Permission.objects.filter(codename__in={codenames!r}))
client = Client()
client.force_login(user)
button = "Stop cluster" in client.get("/admin/django_q/cluster/").content.decode()
answer = button, client.post("/admin/django_q/cluster/stop/?id={cluster_id}").status_code
"""


def send(site, call: str) -> str:
    """Send a task, and return its id."""
    return site.run(f"from django_q.tasks import async_task\nanswer = str(async_task({call}, save=True))")


def id_of(site, cluster: RunningCluster) -> str:
    """Return the id of a cluster, as soon as it publishes its state."""
    code = "from django_q.status import Stat\nanswer = [s.cluster_id for s in Stat.get_all() if s.pid == {pid}]"
    return eventually(lambda: site.run(code.format(pid=cluster.process.pid)), why=lambda: cluster.log)[0]


@pytest.mark.parametrize("site", ["sqlite", "postgres", "mariadb", "redis"], indirect=True)
def test_command_stops_one_of_two_clusters_and_no_later_one(site) -> None:
    with site.cluster() as stopped:
        running = send(site, "'jobs.slow', 'running', 4")
        eventually(site.notes, within=20, why=lambda: stopped.log)
        with site.cluster() as other:
            code = f"from django_q.cluster.stop_command import request_stop\nrequest_stop({id_of(site, stopped)!r})"
            site.run(code)
            assert stopped.process.wait(40) == 0
            assert "a command stops this cluster" in stopped.log
            assert [note.split()[:2] for note in site.notes()] == [["running", "begins"], ["running", "ends"]]
            assert saved(site, running)
            with site.cluster() as later:
                for number in range(8):
                    send(site, f"'jobs.slow', {number}, 0.2")
                eventually(lambda: len(site.notes()) == 18, within=20, why=lambda: (other.log, later.log))
                for cluster in (other, later):
                    assert cluster.process.poll() is None
                    assert "a command stops" not in cluster.log
                    assert cluster.stop() == 0


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_page_stops_a_cluster_whose_task_another_one_repeats(make_site, kind: str) -> None:
    site = make_site(kind, workers=1, stop_timeout=1, retry=5)
    with (site.folder / "site_settings.py").open("a") as settings:
        settings.write(ADMIN_SETTINGS)
    (site.folder / "site_urls.py").write_text(URLS)
    site.manage("migrate")
    with site.cluster() as stopped:
        task = send(site, "'jobs.slow', 'long', 8")
        eventually(site.notes, within=20, why=lambda: stopped.log)
        with site.cluster() as other:
            cluster_id = id_of(site, stopped)
            viewer = PRESS.format(codenames=["view_cluster"], cluster_id=cluster_id)
            assert site.run(viewer) == [False, 403]
            operator = PRESS.format(codenames=["view_cluster", "stop_cluster"], cluster_id=cluster_id)
            assert site.run(operator) == [True, 302]
            assert stopped.process.wait(40) == 0
            eventually(lambda: saved(site, task), within=30, why=lambda: other.log)
            assert [note.split()[1] for note in site.notes()] == ["begins", "begins", "ends"]
            assert other.process.poll() is None
