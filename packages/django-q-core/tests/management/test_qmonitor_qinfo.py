"""`manage.py qmonitor` and `manage.py qinfo`, printed once."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django_q.__about__ import __version__
from django_q.status import Stat

pytestmark = pytest.mark.django_db

SECRET = "swordfish"


@pytest.fixture(autouse=True)
def empty_cache():
    """Begin without statistics."""
    cache.clear()


def output(*arguments: str, **options) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize("arguments", [["--run-once"], []])  # a test's standard input is no terminal
def test_qmonitor_prints_one_screen(arguments):
    Stat(17004, "one", host="Orion", status="Idle", workers=[1, 2]).save()
    header, row, *_ = output("qmonitor", *arguments).splitlines()
    assert header.split() == ["Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"]
    assert row.split() == ["Orion", "17004", "Idle", "2", "0", "0", "0", "0:00:00"]


def test_output_into_a_pipe_has_no_colours():
    Stat(17004, "one", host="Orion", status="Idle").save()
    assert "\x1b" not in output("qmonitor", "--run-once")


@pytest.mark.parametrize("view", ["clusters", "queues", "running"])
def test_view_is_chosen(view):
    titles = {"clusters": "Host", "queues": "Queue", "running": "Task"}
    assert output("qmonitor", "--run-once", "--view", view).startswith(titles[view])


@pytest.mark.parametrize("command", ["qmonitor", "qinfo"])
def test_json_has_all_values(command):
    Stat(17004, "one", host="Orion", status="Idle", workers=[1, 2]).save()
    found = json.loads(output(command, "--json"))
    assert (found["clusters"][0]["cluster_id"], found["clusters"][0]["workers"]) == ("one", [1, 2])
    assert found["queues"][0]["name"] == "test"
    assert found["totals"]["successes"] == 0


def test_qinfo_prints_the_summary():
    for number in range(20):
        Stat(number, f"cluster {number}", workers=[1, 2], reincarnations=1).save()
    lines = output("qinfo").splitlines()
    assert lines[0] == "test summary"
    assert lines[1].split() == ["Clusters", "20", "Workers", "40", "Restarts", "20"]
    assert __version__ in lines[4]


def test_qinfo_prints_ids():
    Stat(1, "one").save()
    Stat(2, "two").save()
    assert output("qinfo", "--ids") == "one\ntwo\n"
    assert json.loads(output("qinfo", "--ids", "--json")) == ["one", "two"]


def test_qinfo_without_clusters_says_so():
    assert output("qinfo", "--ids") == "No clusters appear to be running.\n"
    assert json.loads(output("qinfo", "--ids", "--json")) == []


def test_qinfo_ids_name_a_cache_that_is_not_shared(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    err = StringIO()
    output("qinfo", "--ids", stderr=err)
    assert "DummyCache" in err.getvalue()


@pytest.mark.parametrize("arguments", [["--config"], ["--config", "--json"]])
def test_qinfo_config_has_no_secrets(settings, arguments):
    settings.SECRET_KEY = SECRET
    settings.Q_CLUSTER = settings.Q_CLUSTER | {
        "timeout": 123,
        "redis": f"redis://user:{SECRET}@localhost/0",
        "sqs": {"aws_secret_access_key": SECRET},
        "mongo": {"host": f"mongodb://user:{SECRET}@localhost"},
        "iron_mq": {"token": SECRET},
        "disque_auth": SECRET,
        "error_reporter": {"sentry": {"dsn": SECRET}},
        "ALT_CLUSTERS": {"mail": {"redis": {"password": SECRET}}},
        "of_a_third_party": SECRET,
    }
    text = output("qinfo", *arguments)
    assert SECRET not in text
    values = json.loads(text) if "--json" in arguments else dict(line.split(": ", 1) for line in text.splitlines())
    assert (str(values["timeout"]), values["name"], values["version"]) == ("123", "test", __version__)
    assert values["broker"] == "django_q.brokers.memory.MemoryBroker"
    assert {"redis", "sqs", "mongo", "iron_mq", "disque_auth", "error_reporter", "of_a_third_party"} <= set(values)


def test_name_chooses_the_configuration(settings, monkeypatch):
    monkeypatch.setenv("Q_CLUSTER_NAME", "test")  # restored after the test
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"ALT_CLUSTERS": {"mail": {"timeout": 7}}}
    assert json.loads(output("qinfo", "--config", "--json", "--name", "mail"))["timeout"] == 7


def test_mistake_in_the_settings_is_an_error(settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"workers": "many"}
    with pytest.raises(CommandError, match="workers"):
        output("qmonitor", "--run-once")
