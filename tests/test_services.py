"""The private servers of the tests keep their own promises."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.db import connection
from django_q.testing import eventually

from tests.acceptance.site import lives
from tests.services import Server


@pytest.fixture(params=["mariadb", "memcached", "postgres", "redis"])
def server(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_server_comes_back_on_the_same_port(server, end):
    port = server.port
    getattr(server, end)()
    assert not server.ready()
    server.start()
    assert server.ready()
    assert server.port == port


class Parent(Server):
    """A server of two processes, as the emulators of some products are."""

    def command(self) -> list[str]:
        script = (
            "import os, time, pathlib; os.fork() or pathlib.Path('child').write_text(str(os.getpid())); time.sleep(60)"
        )
        return [sys.executable, "-c", script]

    def ready(self) -> bool:
        return bool(self.child)

    @property
    def child(self) -> str:
        file = self.folder / "child"
        return file.read_text().strip() if file.exists() else ""


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_server_leaves_no_child_behind(end):
    with Parent() as server:
        child = int(server.child)
        getattr(server, end)()
        eventually(lambda: not lives(child))


@pytest.mark.parametrize("product", ["mariadb", "postgres"])
def test_each_fresh_database_is_another(request, product):
    server = request.getfixturevalue(f"{product}_server")
    assert server.fresh_database()["NAME"] != server.fresh_database()["NAME"]


def test_redis_is_empty_for_each_test(redis_server, redis_url):
    assert redis_server.url == redis_url
    assert redis_server.say("DBSIZE") == ":0"


@pytest.mark.django_db
def test_child_processes_share_the_test_database():
    script = "import django; django.setup(); from django.db import connection as c; print(c.settings_dict['NAME'])"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment, text=True)
    assert done.stdout.strip() == str(connection.settings_dict["NAME"])
