from __future__ import annotations

import dataclasses
import inspect
import os
import pickle
import re
from typing import Any

import pytest
from django.test import override_settings
from django_q.exceptions import ConfigurationError
from django_q.settings import ClusterSettings
from django_q.settings.fields import FIELDS, MAX_TASKS_IN_MEMORY
from django_q.settings.source import CLUSTER_NAME_VARIABLE

SOURCE = re.compile(r"(Manual 1\.2\.\d+|From django-q2?|Undocumented in the public editions|Ours)[^.]*\.$")

WITHOUT_QUOTES = "Write it without quotes; from the environment: int(os.environ[...])."

ALTERNATIVES = {
    "name": "shop",
    "workers": 4,
    "timeout": 60,
    "ALT_CLUSTERS": {"slow": {"name": "ignored", "cluster_name": "ignored", "timeout": 600}},
}


@pytest.fixture(autouse=True)
def no_chosen_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLUSTER_NAME_VARIABLE, raising=False)


# -- defaults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("name", "default"),
        ("cluster_name", "default"),
        ("alt_clusters", {}),
        ("label", "Django Q"),
        ("daemonize_workers", True),
        ("recycle", 500),
        ("max_rss", None),
        ("cpu_affinity", 0),
        ("timeout", None),
        ("guard_cycle", 0.5),
        ("stop_timeout", 25.0),
        ("retry", 60),
        ("max_attempts", 0),
        ("ack_failures", False),
        ("bulk", 1),
        ("poll", 0.2),
        ("compress", False),
        ("sync", False),
        ("save_limit", 250),
        ("save_limit_per", None),
        ("cached", False),
        ("cache", "default"),
        ("scheduler", True),
        ("catch_up", True),
        ("time_zone", None),
        ("has_replica", False),
        ("error_reporter", {}),
        ("log_level", "INFO"),
        ("broker_class", None),
        ("disque_nodes", None),
        ("disque_auth", None),
        ("disque_fastack", False),
        ("iron_mq", None),
        ("sqs", None),
        ("orm", None),
        ("mongo", None),
        ("mongo_db", None),
        ("django_redis", None),
        ("redis", {}),
    ],
)
def test_defaults_are_those_of_the_manual(name: str, default: object) -> None:
    assert getattr(ClusterSettings(), name) == default
    assert getattr(ClusterSettings.from_mapping({name: None}), name) == default


def test_every_field_is_documented_with_its_default_and_source() -> None:
    source = inspect.getsource(ClusterSettings)
    after = {name: source.partition(f"\n    {name}: ")[2].partition('"""')[2].partition('"""')[0] for name in FIELDS}
    assert [name for name, text in after.items() if "Default" not in text or not SOURCE.search(text)] == []


def test_one_worker_a_processor_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert ClusterSettings().workers == ClusterSettings(workers=0).workers == 6


def test_default_workers_without_a_number_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert ClusterSettings().workers == 4


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, 9),
        ({"queue_limit": 5}, 5),
        ({"queue_limit": 0}, MAX_TASKS_IN_MEMORY),
        ({"queue_limit": None}, MAX_TASKS_IN_MEMORY),
    ],
    ids=["left out", "given", "zero", "none"],
)
def test_queue_limit_is_a_number_above_zero(given: dict[str, Any], limit: int) -> None:
    assert ClusterSettings.from_mapping({"workers": 3, **given}).queue_limit == limit


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", 5),
        ("workers", "4"),
        ("workers", -1),
        ("workers", True),
        ("workers", 2.0),
        ("sync", "False"),
        ("sync", 2),
        ("recycle", -1),
        ("max_rss", 0),
        ("timeout", 0),
        ("timeout", -5),
        ("timeout", float("nan")),
        ("guard_cycle", 0),
        ("guard_cycle", 60),
        ("retry", 0),
        ("bulk", 0),
        ("poll", 0),
        ("queue_limit", -1),
        ("save_limit", 2.5),
        ("save_limit_per", "cluster"),
        ("cached", -1),
        ("cached", "yes"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../etc"),
        ("log_level", "LOUD"),
        ("start_method", "thread"),
        ("redis", 6379),
        ("redis", {6379: "port"}),
        ("sqs", True),
        ("orm", True),
        ("mongo", "mongodb://"),
        ("disque_nodes", "a:1,b:2"),
        ("error_reporter", {"sentry": "dsn"}),
        ("broker_class", "Broker"),
        ("ALT_CLUSTERS", ["slow"]),
        ("ALT_CLUSTERS", {"slow": 5}),
    ],
)
def test_invalid_value_is_rejected_with_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key):
        ClusterSettings.from_mapping({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guard_cycle", 1),
        ("timeout", 1.5),
        ("sync", 1),
        ("cached", True),
        ("cached", 60),
        ("save_limit", -1),
        ("recycle", 0),
        ("redis", "redis://localhost"),
        ("redis", {"host": "localhost"}),
        ("sqs", {}),
        ("disque_nodes", ("a:1", "b:2")),
        ("broker_class", "shop.brokers.Broker"),
        ("broker_class", dict),
        ("log_level", 10),
        ("log_level", "debug"),
        ("time_zone", "Europe/Amsterdam"),
    ],
)
def test_values_in_use_are_accepted(key: str, value: object) -> None:
    assert getattr(ClusterSettings.from_mapping({key: value}), key) == value


def test_error_contains_all_mistakes() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClusterSettings.from_mapping({"workers": "4", "guard_cycle": 90})
    assert str(caught.value).splitlines() == [
        "Q_CLUSTER in the Django settings has 2 mistakes:",
        f"- workers is '4' (of type str), expected a whole number, 0 or more. {WITHOUT_QUOTES}",
        "- guard_cycle is 90 (of type int), expected a number of seconds, above 0 and below 60.",
    ]


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("log_level", "LOUD", "Use 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL', or a number."),
        ("log_level", 1.5, "Use 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL', or a number."),
        ("workers", "4", WITHOUT_QUOTES),
        ("sync", "yes", "Any text counts as true in Python; from the environment: os.environ[...] == 'true'."),
    ],
)
def test_advice_fits_the_mistake(key: str, value: object, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClusterSettings.from_mapping({key: value})
    assert str(caught.value).endswith(advice)


def test_settings_without_q_cluster_are_validated() -> None:
    with pytest.raises(ConfigurationError, match="bulk"):
        ClusterSettings(bulk=0)


def test_q_cluster_that_is_no_dictionary_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="dictionary"):
        ClusterSettings.from_mapping(["workers"])  # type: ignore[arg-type]


def test_no_secret_is_shown() -> None:
    secrets = {"disque_auth": "hush", "redis": "redis://:hush@host", "sqs": {"aws_secret_access_key": "hush"}}
    settings = ClusterSettings.from_mapping(secrets | {"rabbit": "hush", "error_reporter": {"sentry": {"dsn": "hush"}}})
    with pytest.raises(ConfigurationError) as caught:
        ClusterSettings.from_mapping({"mongo": "hush", "disque_auth": ["hush"]})
    assert "hush" not in f"{settings!r} {settings.masked()} {caught.value}"


# -- unknown keys ------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_kept_for_plugins() -> None:
    assert ClusterSettings.from_mapping({"rabbit": {"host": "h"}}).others == {"rabbit": {"host": "h"}}


def test_explicit_keys_are_distinguished_from_defaults() -> None:
    settings = ClusterSettings.from_mapping({"ack_failures": False, "retry": None})
    assert settings.explicit == {"ack_failures"}
    assert ClusterSettings(bulk=5).explicit == {"bulk"}


# -- clusters of one project ------------------------------------------------------------------------------------------


def test_default_queue_has_the_name_of_the_project() -> None:
    settings = ClusterSettings(name="shop")
    assert (settings.list_key, settings.salt, settings.is_default_cluster) == ("shop", "shop", True)


def test_cluster_name_changes_the_queue_and_not_the_signature() -> None:
    settings = ClusterSettings(name="shop", cluster_name="slow")
    assert (settings.list_key, settings.salt, settings.is_default_cluster) == ("slow", "shop", False)
    assert settings.q_stat == "django_q:shop:cluster"


def test_alternative_cluster_overrides_the_settings() -> None:
    settings = ClusterSettings.from_mapping(ALTERNATIVES, cluster="slow")
    assert (settings.name, settings.cluster_name, settings.workers, settings.timeout) == ("shop", "slow", 4, 600)


def test_cluster_without_settings_of_its_own_is_another_queue() -> None:
    settings = ClusterSettings.from_mapping(ALTERNATIVES, cluster="mail")
    assert (settings.cluster_name, settings.timeout) == ("mail", 60)


@pytest.mark.parametrize("cluster", ["shop", "main", "", None])
def test_own_name_chooses_the_main_cluster(cluster: str | None) -> None:
    mapping = ALTERNATIVES | {"cluster_name": "main"}
    assert ClusterSettings.from_mapping(mapping, cluster=cluster).cluster_name == "main"


@override_settings(Q_CLUSTER=ALTERNATIVES)
def test_environment_chooses_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClusterSettings.from_django().timeout == 60
    monkeypatch.setenv(CLUSTER_NAME_VARIABLE, "slow")
    assert ClusterSettings.from_django().timeout == 600
    assert ClusterSettings.from_django("mail").cluster_name == "mail"


# -- current -----------------------------------------------------------------------------------------------------------


def test_environment_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {CLUSTER_NAME_VARIABLE: "slow"})
    assert ClusterSettings.from_django().cluster_name == "slow"
    monkeypatch.setattr("os.environ", {})
    assert ClusterSettings.from_django().cluster_name != "slow"


def test_settings_follow_django() -> None:
    with override_settings(Q_CLUSTER={"name": "one"}):
        assert ClusterSettings.from_django().name == "one"
        with override_settings(Q_CLUSTER={"name": "two"}):
            assert ClusterSettings.from_django().name == "two"
        assert ClusterSettings.from_django().name == "one"


def test_changes_inside_the_dictionary_are_detected() -> None:
    cluster: dict[str, Any] = {"cached": True, "redis": {"port": 1}}
    with override_settings(Q_CLUSTER=cluster):
        assert ClusterSettings.from_django().cached is True
        cluster["cached"] = 1
        assert ClusterSettings.from_django().cached is not True
        cluster["redis"]["port"] = 2
        assert ClusterSettings.from_django().redis == {"port": 2}
        cluster["sync"] = True
        assert ClusterSettings.from_django().sync


def test_unchanged_settings_are_created_once() -> None:
    with override_settings(Q_CLUSTER={"name": "one"}):
        assert ClusterSettings.from_django() is ClusterSettings.from_django()


def test_missing_setting_means_defaults() -> None:
    with override_settings(Q_CLUSTER=None):
        assert ClusterSettings.from_django().name == "default"


@pytest.mark.parametrize(
    ("use_tz", "own", "zone"),
    [(True, None, "Asia/Tokyo"), (True, "Europe/Paris", "Europe/Paris"), (False, "Europe/Paris", None)],
)
def test_time_zone_is_that_of_django_unless_given(use_tz: bool, own: str | None, zone: str | None) -> None:
    with override_settings(TIME_ZONE="Asia/Tokyo", USE_TZ=use_tz, Q_CLUSTER={"time_zone": own}):
        assert ClusterSettings.from_django().time_zone == zone


# -- values -----------------------------------------------------------------------------------------------------------


def test_dictionaries_are_not_shared() -> None:
    mapping = {"redis": {"hosts": ["a"]}, "rabbit": {"host": "h"}}
    settings = ClusterSettings.from_mapping(mapping)
    mapping["redis"]["hosts"].append("b")  # type: ignore[attr-defined]
    mapping["rabbit"].clear()
    assert (settings.redis, settings.others) == ({"hosts": ["a"]}, {"rabbit": {"host": "h"}})


def test_settings_can_be_pickled() -> None:
    settings = ClusterSettings.from_mapping(ALTERNATIVES, cluster="slow")
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_cannot_be_changed_and_can_be_replaced() -> None:
    settings = ClusterSettings(workers=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.workers = 3  # type: ignore[misc]
    assert dataclasses.replace(settings, workers=3).workers == 3


def test_equal_settings_are_one_key() -> None:
    assert {ClusterSettings(redis={"port": 1}): "it"}[ClusterSettings(redis={"port": 1})] == "it"
