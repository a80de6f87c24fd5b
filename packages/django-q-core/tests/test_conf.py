from __future__ import annotations

from unittest.mock import patch

import pytest
from django.test import override_settings
from django_q import conf
from django_q.conf import Conf
from django_q.settings import current_settings


@pytest.fixture(autouse=True)
def nothing_put() -> None:
    assert vars(Conf) == {}, "a test left something on Conf"


@override_settings(Q_CLUSTER={"name": "shop", "compress": True, "cluster_name": "slow"})
def test_old_names_are_the_current_settings() -> None:
    assert (Conf.PREFIX, Conf.COMPRESSED, Conf.CLUSTER_NAME, Conf.RECYCLE) == ("shop", True, "slow", 500)
    assert Conf.Q_STAT == "django_q:shop:cluster"


@pytest.mark.parametrize(
    "name",
    [
        "PREFIX",
        "CLUSTER_NAME",
        "ALT_CLUSTERS",
        "WORKERS",
        "DAEMONIZE_WORKERS",
        "RECYCLE",
        "MAX_RSS",
        "TIMEOUT",
        "TIME_ZONE",
        "ACK_FAILURES",
        "MAX_ATTEMPTS",
        "RETRY",
        "COMPRESSED",
        "SAVE_LIMIT",
        "SAVE_LIMIT_PER",
        "GUARD_CYCLE",
        "SYNC",
        "QUEUE_LIMIT",
        "LABEL",
        "CATCH_UP",
        "REDIS",
        "DJANGO_REDIS",
        "DISQUE_NODES",
        "DISQUE_AUTH",
        "DISQUE_FASTACK",
        "IRON_MQ",
        "SQS",
        "ORM",
        "HAS_REPLICA",
        "MONGO",
        "MONGO_DB",
        "BROKER_CLASS",
        "BULK",
        "POLL",
        "CACHE",
        "CACHED",
        "SCHEDULER",
        "ERROR_REPORTER",
        "CPU_AFFINITY",
        "LOG_LEVEL",
        "TESTING",
        "SECRET_KEY",
        "Q_STAT",
        "QSIZE",
        "SIGNAL_NAMES",
        "STARTING",
        "WORKING",
        "IDLE",
        "STOPPED",
        "STOPPING",
        "conf",
    ],
)
def test_all_old_names_exist(name: str) -> None:
    getattr(Conf, name)
    assert name in dir(Conf)


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(Conf, "NONSENSE")


def test_value_assigned_to_conf_overrides_the_settings() -> None:
    with patch.object(Conf, "SYNC", True), patch.object(Conf, "PREFIX", "other"):
        assert Conf.SYNC
        assert (current_settings().sync, current_settings().list_key) == (True, "other")
    assert not current_settings().sync


def test_override_ends_with_monkeypatch() -> None:
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(Conf, "SYNC", True)
        patching.setattr(Conf, "SYNC", False)
        assert Conf.SYNC is False
    with override_settings(Q_CLUSTER={"sync": True}):
        assert Conf.SYNC


def test_override_ends_after_a_change_of_settings() -> None:
    patching = pytest.MonkeyPatch()
    with override_settings(Q_CLUSTER={"sync": True}):
        patching.setattr(Conf, "SYNC", False)
        assert not current_settings().sync
    patching.undo()
    assert Conf.SYNC is False


def test_monkeypatch_finds_conf_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patching:
        patching.setattr("django_q.conf.Conf.WORKERS", 3)
        assert current_settings().queue_limit == 9


def test_commands_that_need_no_secret_key_work_without() -> None:
    with override_settings(SECRET_KEY=""):
        assert Conf.SECRET_KEY is None


def test_optional_libraries_are_none_when_missing() -> None:
    with patch("django_q.old_names.find_spec", return_value=None):
        assert conf.psutil is None
    assert conf.croniter is not None
