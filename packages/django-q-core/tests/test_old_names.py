from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.apps import apps
from django_q.functions import resolve
from django_q.old_names import COURTESIES, OLD_NAMES, REMOVED_NAMES, SUPPORTED_NAMES, distribution_of, rows, table

NAMES = [(module, name, path) for module, names in OLD_NAMES.items() for name, path in names.items()]
OF_PLUGINS = [each for each in NAMES if each[2].startswith("django_q_")]
PLACES = [f"{module}.{name}" for module, names in SUPPORTED_NAMES.items() for name in names.split()] + [
    f"{module}.{name}" for module, names in COURTESIES.items() for name in names
]
REMOVED = [f"{module}.{name}" for module, names in REMOVED_NAMES.items() for name in names]

PIPELINE = ("monitor", "pusher", "scheduler", "worker")
TERMINAL = ("get_ids", "get_process_mb", "info", "memory", "monitor")
NAMES_BY_MODULE = {
    "django_q": ("VERSION", "default_app_config"),
    "django_q.admin": ("FailAdmin", "QueueAdmin", "ScheduleAdmin", "TaskAdmin", "resubmit_task", "retry_failed"),
    "django_q.apps": ("DjangoQConfig",),
    "django_q.brokers": ("Broker", "get_broker"),
    "django_q.brokers.aws_sqs": ("Sqs",),
    "django_q.brokers.disque": ("Disque",),
    "django_q.brokers.ironmq": ("IronMQBroker",),
    "django_q.brokers.mongo": ("Mongo",),
    "django_q.brokers.orm": ("ORM",),
    "django_q.brokers.redis_broker": ("Redis",),
    "django_q.cluster": (
        *("Cluster", "Sentinel", *PIPELINE, "save_cached", "save_task", "set_cpu_affinity", "get_mp_context"),
        *("close_old_django_connections", "db", "localtime", "rss_check"),
    ),
    "django_q.conf": (
        *("Conf", "ErrorReporter", "croniter", "error_reporter", "get_ppid", "logger"),
        *("prometheus_multiprocess", "psutil", "resource", "setproctitle"),
    ),
    "django_q.core_signing": ("Signer", "TimestampSigner", "dumps", "loads"),
    "django_q.exceptions": ("TimeoutException",),
    "django_q.humanhash": ("DEFAULT_HASHER", "DEFAULT_WORDLIST", "HumanHasher", "humanize", "uuid"),
    "django_q.models": (
        *("Failure", "FailureManager", "OrmQ", "Schedule", "Success", "SuccessManager", "Task"),
        *("decode_results", "validate_cron", "validate_kwarg"),
    ),
    "django_q.monitor": (*TERMINAL, "Stat", "save_cached", "save_task"),
    "django_q.monitor_terminal": TERMINAL,
    "django_q.pusher": ("pusher",),
    "django_q.queues": ("Queue", "SharedCounter"),
    "django_q.scheduler": ("scheduler",),
    "django_q.signals": (
        *("call_hook", "post_execute", "post_execute_in_worker", "post_spawn", "pre_enqueue", "pre_execute"),
    ),
    "django_q.signing": ("BadSignature", "PickleSerializer", "SignedPackage"),
    "django_q.status": ("Stat", "Status"),
    "django_q.tasks": (
        *("AsyncTask", "Chain", "Iter", "Schedule", "Task", "async_chain", "async_iter", "async_task", "schedule"),
        *("count_group", "count_group_cached", "delete_cached", "delete_group", "delete_group_cached", "queue_size"),
        *("fetch", "fetch_cached", "fetch_group", "fetch_group_cached"),
        *("result", "result_cached", "result_group", "result_group_cached"),
    ),
    "django_q.tests": ("*",),
    "django_q.timeout": ("TimeoutHandler",),
    "django_q.utils": ("add_months", "add_years", "close_old_django_connections", "get_func_repr", "localtime"),
    "django_q.worker": ("rss_check", "worker"),
}
"""Names that the modules of the public editions have, and that user code may import."""
MODULE_MAP = [f"{module}.{name}" for module, names in NAMES_BY_MODULE.items() for name in names]


def old_name(module, name):
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("module", "name", "path"), NAMES, ids=lambda value: value)
def test_old_name_resolves_to_the_new_one(module, name, path):
    if find_spec(path.partition(".")[0]) is None:
        if distribution_of(path) == "an optional library":
            assert old_name(module, name) is None
            return
        pytest.skip(f"{distribution_of(path)} is not installed")
    found, moved = old_name(module, name), pkgutil.resolve_name(path)
    assert found is moved or type(found) is type(moved)  # a reporter is made anew for each caller


@pytest.mark.parametrize("path", PLACES)
def test_name_that_stays_can_be_imported(path):
    module, _, name = path.rpartition(".")
    exec(f"from {module} import {name}", namespace := {})
    assert namespace[name] is not None


@pytest.mark.parametrize("path", REMOVED)
def test_removed_name_cannot_be_imported(path):
    module, _, name = path.rpartition(".")
    with pytest.raises(ImportError):
        exec(f"from {module} import {name}")


def test_import_of_a_removed_name_names_the_replacement():
    with pytest.raises(ImportError, match=r"decode_results was removed: use the attributes of a Task"):
        old_name("django_q.models", "decode_results")


@pytest.mark.parametrize("path", MODULE_MAP)
def test_name_of_the_module_map_is_a_row(path):
    assert path in {row.name for row in rows()}


def test_no_name_has_two_rows():
    names = [row.name for row in rows()]
    assert sorted({*names}) == names


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no cluster")
def test_functions_stay_when_a_cluster_was_imported():
    """A module of the same name would take the place of a function as soon as it is imported."""
    code = (
        "from importlib import import_module\n"
        "from django_q.cluster.pool import MONITOR, PUSHER, SCHEDULER, WORKER\n"
        "import django, django_q.cluster.sentinel\n"
        "django.setup()\n"
        "for role in (MONITOR, PUSHER, SCHEDULER, WORKER): import_module(role.path.partition(':')[0])\n"
        "from django_q.cluster import monitor, pusher, scheduler, worker\n"
        "assert all(map(callable, (monitor, pusher, scheduler, worker)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("module", OLD_NAMES)
def test_unknown_name_is_reported(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        import_module(module).nothing  # noqa: B018


@pytest.mark.parametrize(("module", "name", "path"), OF_PLUGINS, ids=lambda value: value)
def test_missing_plugin_has_a_hint(module, name, path, monkeypatch):
    monkeypatch.setitem(sys.modules, path.rpartition(".")[0], None)
    with pytest.raises(ImportError, match=f"pip install {distribution_of(path)}"):
        old_name(module, name)


@pytest.mark.parametrize(("module", "name"), [("django_q.models", "OrmQ"), ("django_q.brokers.orm", "ORM")])
def test_missing_app_has_a_hint(module, name, monkeypatch):
    pytest.importorskip("django_q_orm")
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    with pytest.raises(ImportError, match="and add 'django_q_orm' to INSTALLED_APPS"):
        old_name(module, name)


def test_callbacks_queued_under_the_old_path_are_found():
    from django_q.workflows.batch_delivery import call_back

    assert resolve("django_q.results.batch_delivery.call_back") is call_back


def test_page_of_old_names_has_the_table():
    page = Path(__file__).parents[3] / "docs" / "reference" / "old-names.md"
    assert table() in page.read_text(), "copy the output of django_q.old_names.table() to the page"
