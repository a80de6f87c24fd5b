from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest
from django_q.exceptions import ConfigurationError
from django_q.settings import ClusterSettings
from django_q_redis import Redis
from django_q_redis import client as module
from django_q_redis.client import (
    MaintNotificationsConfig,
    client_for,
    driver_info_of,
    longest_wait,
    make_client,
    prepare,
)
from redis.connection import SSLConnection, UnixDomainSocketConnection

from tests.forks import in_a_fork

if TYPE_CHECKING:
    from tests.services import Redis as RedisServer


def settings_of(redis: object, **others: object) -> ClusterSettings:
    return ClusterSettings.from_mapping({"redis": redis, **others})


def options_of(redis: object) -> dict:
    return make_client(settings_of(redis)).connection_pool.connection_kwargs


def test_defaults_of_the_manual_are_understood():
    manual = {
        "host": "localhost",
        "port": 6379,
        "db": 0,
        "password": None,
        "socket_timeout": None,
        "charset": "utf-8",
        "errors": "strict",
        "unix_socket_path": None,
    }
    options = options_of(manual)
    assert (options["encoding"], options["encoding_errors"]) == ("utf-8", "strict")


@pytest.mark.parametrize("given", [{}, "redis://localhost"])
def test_no_file_is_read_for_the_client_to_name_itself(monkeypatch: pytest.MonkeyPatch, given: object):
    read: list[str] = []
    monkeypatch.setattr("importlib.metadata.version", lambda name: read.append(name) or "0")
    make_client(settings_of(given)).connection_pool.make_connection()
    assert read == []


@pytest.mark.skipif(MaintNotificationsConfig is None, reason="this client knows no notifications of maintenance")
@pytest.mark.parametrize("given", [{}, "redis://localhost"])
def test_no_server_is_asked_to_announce_its_maintenance(given: object):
    assert not make_client(settings_of(given)).connection_pool.maint_notifications_enabled()


@pytest.mark.skipif(MaintNotificationsConfig is None, reason="this client knows no notifications of maintenance")
def test_site_may_enable_the_announcements():
    wanted = MaintNotificationsConfig(enabled=True)
    client = make_client(settings_of({"protocol": 3, "maint_notifications_config": wanted}))
    assert client.connection_pool.maint_notifications_enabled()


def test_name_of_the_site_is_kept():
    assert driver_info_of({"lib_name": "shop"}) == {}


def test_old_keys_are_understood_in_a_url():
    assert options_of("redis://localhost:6379/2?charset=latin-1")["encoding"] == "latin-1"


def test_url_gives_host_port_password_and_database():
    options = options_of("redis://user:secret@example.com:111/3")
    assert [options[key] for key in ("host", "port", "username", "password", "db")] == [
        "example.com",
        111,
        "user",
        "secret",
        3,
    ]


@pytest.mark.parametrize(
    ("url", "kind"),
    [("rediss://localhost:6379/0", SSLConnection), ("unix:///run/redis.sock?db=1", UnixDomainSocketConnection)],
)
def test_url_chooses_the_way(url: str, kind: type):
    assert make_client(settings_of(url)).connection_pool.connection_class is kind


SENTINELS = [("127.0.0.1", 1)]


@pytest.mark.parametrize(
    "redis",
    [
        {"prot": 6379},
        "http://localhost",
        "redis://localhost?prot=6379",
        {"sentinels": SENTINELS},
        {"sentinels": SENTINELS, "service_name": "mymaster", "prot": 6379},
        {"sentinels": SENTINELS, "service_name": "mymaster", "sentinel_kwargs": {"prot": 6379}},
        {"sentinels": ["localhost"], "service_name": "mymaster"},
        {"startup_nodes": SENTINELS, "db": 1},
        {"startup_nodes": SENTINELS, "prot": 6379},
        {"startup_nodes": []},
    ],
)
def test_rejected_options_are_a_configuration_error(redis: object):
    with pytest.raises(ConfigurationError, match="redis"):
        make_client(settings_of(redis))


@pytest.mark.parametrize(
    "password", ["se/cret", "se#cret", "se?cret", "se[cret", "12/cret", "se\u2100cret", "se:cret/x"]
)
def test_message_about_a_url_shows_no_part_of_its_password(password: str):
    with pytest.raises(ConfigurationError, match="quote") as caught:
        make_client(settings_of(f"redis://:{password}@localhost/0"))
    shown = "".join(traceback.format_exception(caught.value)).partition("ConfigurationError:")[2]
    assert "cret" not in shown
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("redis", [{}, "redis://localhost"])
def test_default_timeouts_and_retries(redis: object):
    options = options_of(redis)
    assert options["socket_timeout"] == 5
    assert options["retry"]._retries == 0


def test_clusters_need_a_client_that_can_be_kept_from_repeating(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("redis.VERSION", (5, 3, 1))
    with pytest.raises(ConfigurationError, match="redis 6"):
        make_client(settings_of({"startup_nodes": SENTINELS}))


def test_sentinels_and_their_master_have_options_of_their_own():
    others = {"service_name": "mymaster", "db": 3, "sentinel_kwargs": {"password": "theirs", "socket_timeout": 0.2}}
    client = make_client(settings_of({"sentinels": SENTINELS, "password": "ours", **others}))
    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    options, theirs = client.get_connection_kwargs(), sentinel.get_connection_kwargs()
    assert (options["password"], options["db"], options["socket_timeout"]) == ("ours", 3, 5)
    assert (theirs["password"], theirs["db"], theirs["socket_timeout"]) == ("theirs", 0, 0.2)
    assert (options["retry"]._retries, theirs["retry"]._retries) == (0, 0)


def test_timeouts_of_sentinels_are_those_of_their_master():
    client = make_client(settings_of({"sentinels": SENTINELS, "service_name": "mymaster", "socket_timeout": 0.2}))
    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    assert sentinel.get_connection_kwargs()["socket_timeout"] == 0.2


def test_encrypted_master_of_sentinels_is_reached_so():
    client = make_client(settings_of({"sentinels": SENTINELS, "service_name": "mymaster", "ssl": True}))
    assert issubclass(client.connection_pool.connection_class, SSLConnection)


def test_time_out_of_the_user_is_kept():
    client = make_client(settings_of({"socket_timeout": 0.5}))
    assert client.connection_pool.connection_kwargs["socket_timeout"] == 0.5
    assert longest_wait(client) < 0.5


def test_brokers_of_one_configuration_share_a_client():
    assert Redis(settings=settings_of({"port": 1})).connection is Redis(settings=settings_of({"port": 1})).connection


def test_brokers_of_two_configurations_do_not():
    assert client_for(settings_of({"port": 1})) is not client_for(settings_of({"port": 2}))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> ClusterSettings:
    """Settings with a prepared client for forks."""
    monkeypatch.setattr(module, "_prepared", {})
    settings = settings_of({"port": 3})
    prepare(settings)
    return settings


def test_prepared_client_is_that_of_a_fork(prepared: ClusterSettings):
    (client,) = (each.client for each in module._prepared.values())
    assert client_for(prepared) is not client
    assert in_a_fork(lambda: client_for(prepared) is client_for(prepared) is client)


def test_prepared_client_is_not_that_of_the_forks_of_a_fork(prepared: ClusterSettings):
    def another_for_its_fork() -> bool:
        mine = client_for(prepared)
        return in_a_fork(lambda: client_for(prepared) is not mine)

    assert in_a_fork(another_for_its_fork)


@pytest.mark.parametrize(
    "given",
    [
        {"startup_nodes": [("localhost", 1)]},
        {"sentinels": [("localhost", 1)], "service_name": "mymaster"},
        {"port": 1, "single_connection_client": True},
    ],
)
def test_client_that_may_connect_by_itself_is_not_prepared(monkeypatch: pytest.MonkeyPatch, given: dict):
    monkeypatch.setattr(module, "_prepared", {})
    prepare(settings_of(given))
    assert module._prepared == {}


@pytest.mark.parametrize("way", ["url", "keyword"])
def test_unix_socket_can_be_used(redis_server: RedisServer, redis_url: str, way: str):
    path = redis_server.socket
    broker = Redis(settings=settings_of(f"unix://{path}?db=0" if way == "url" else {"unix_socket_path": path}))
    broker.enqueue("package")
    assert broker.dequeue_many(1, 1)[0].package == b"package"


class TestDjangoRedis:
    @pytest.fixture(autouse=True)
    def caches(self, settings, redis_url: str):
        pytest.importorskip("django_redis")
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "shared": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url},
        }

    def test_its_client_is_used(self):
        broker = Redis(settings=settings_of({}, django_redis="shared"))
        broker.enqueue("package")
        assert broker.dequeue_many(1, 1)[0].package == b"package"

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({}, "Missing connections string"),
            ({"LOCATION": ""}, "Missing connections string"),
            ({"LOCATION": "127.0.0.1:6379"}, "redis://"),
            ({"LOCATION": "http://localhost"}, "redis://"),
            ({"LOCATION": "redis://localhost:port"}, "Port"),
            ({"LOCATION": "redis://[::1/0"}, "IPv6"),
            ({"LOCATION": "redis://localhost?prot=1"}, "prot"),
            ({"LOCATION": "redis://localhost?socket_timeout=long"}, "socket_timeout"),
            ({"LOCATION": 6379}, "not text"),
            ({"LOCATION": "redis://localhost", "OPTIONS": {"CLIENT_CLASS": "django_redis.client.Missing"}}, "Missing"),
            ({"LOCATION": "redis://localhost", "OPTIONS": {"SOCKET_TIMEOUT": "long"}}, "timeout"),
            ({"LOCATION": "redis://localhost/9", "OPTIONS": {"CONNECTION_POOL_KWARGS": {"prot": 1}}}, "prot"),
        ],
    )
    def test_error_of_an_invalid_cache_has_its_alias_and_reason(self, settings, given, reason):
        settings.CACHES = {**settings.CACHES, "wrong": {"BACKEND": "django_redis.cache.RedisCache", **given}}
        with pytest.raises(ConfigurationError, match=r"'wrong'.*LOCATION") as caught:
            make_client(settings_of({}, django_redis="wrong"))
        assert reason in str(caught.value)

    @pytest.mark.parametrize("location", ["redis://:se/cret@localhost/0", ["redis://:se/cret@localhost/0"]])
    def test_message_about_a_location_shows_no_part_of_its_password(self, settings, location: object):
        wrong = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}
        settings.CACHES = {**settings.CACHES, "wrong": wrong}
        with pytest.raises(ConfigurationError, match="quote") as caught:
            make_client(settings_of({}, django_redis="wrong"))
        shown = "".join(traceback.format_exception(caught.value)).partition("ConfigurationError:")[2]
        assert "se'" not in shown
        assert "cret" not in shown
        assert caught.value.__cause__ is caught.value.__context__ is None

    def test_another_kind_of_cache_is_a_configuration_error(self):
        with pytest.raises(ConfigurationError, match="default"):
            make_client(settings_of({}, django_redis="default"))
