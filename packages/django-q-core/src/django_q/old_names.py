"""Names that code for the public editions imports: one table, from which modules resolve those that moved."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUPPORTED_NAMES: Final[Mapping[str, str]] = {
    "django_q": "VERSION",
    "django_q.admin": "FailAdmin ScheduleAdmin TaskAdmin resubmit_task retry_failed",
    "django_q.apps": "DjangoQConfig",
    "django_q.brokers": "Broker get_broker",
    "django_q.cluster": "Cluster",
    "django_q.exceptions": "TimeoutException",
    "django_q.humanhash": "DEFAULT_HASHER DEFAULT_WORDLIST HumanHasher humanize uuid",
    "django_q.models": "Failure FailureManager Schedule Success SuccessManager Task validate_cron validate_kwarg",
    "django_q.signals": "post_execute post_execute_in_worker post_spawn pre_enqueue pre_execute",
    "django_q.status": "Stat Status",
    "django_q.tasks": (
        "AsyncTask Chain Iter Schedule Task async_chain async_iter async_task count_group count_group_cached "
        "delete_cached delete_group delete_group_cached fetch fetch_cached fetch_group fetch_group_cached queue_size "
        "result result_cached result_group result_group_cached schedule"
    ),
}
"""Names that are where they were: module → names."""

COURTESIES: Final[Mapping[str, Mapping[str, str]]] = {
    "django_q.conf": {
        "Conf": "django_q.settings.current_settings",
        "get_ppid": "os.getppid",
        "logger": 'logging.getLogger("django-q")',
    },
    "django_q.core_signing": {
        "Signer": "django.core.signing.Signer",
        "TimestampSigner": "django.core.signing.TimestampSigner",
        "dumps": "django.core.signing.dumps",
        "loads": "django.core.signing.loads",
    },
    "django_q.monitor": {
        "Stat": "django_q.status.Stat",
        "get_ids": "manage.py qinfo --ids",
        "get_process_mb": "psutil",
        "info": "manage.py qinfo",
        "memory": "manage.py qmemory",
        "monitor": "django_q.testing.run_tasks, or manage.py qmonitor",
        "save_cached": "django_q.testing.run_tasks",
        "save_task": "django_q.testing.run_tasks",
    },
    "django_q.monitor_terminal": {
        "get_ids": "manage.py qinfo --ids",
        "get_process_mb": "psutil",
        "info": "manage.py qinfo",
        "memory": "manage.py qmemory",
        "monitor": "manage.py qmonitor",
    },
    "django_q.pusher": {"pusher": "django_q.testing.run_tasks"},
    "django_q.queues": {"Queue": "multiprocessing.Queue", "SharedCounter": "multiprocessing.Value"},
    "django_q.scheduler": {"scheduler": "django_q.testing.run_tasks"},
    "django_q.signing": {
        "BadSignature": "django.core.signing.BadSignature",
        "PickleSerializer": "django_q.wire.codec.PickleSerializer",
        "SignedPackage": "django_q.wire.codec.PackageCodec",
    },
    "django_q.timeout": {"TimeoutHandler": "the option timeout"},
    "django_q.utils": {
        "add_months": "arrow.Arrow.shift",
        "add_years": "arrow.Arrow.shift",
        "close_old_django_connections": "django.db.close_old_connections",
        "get_func_repr": "django_q.functions.describe",
        "localtime": "django.utils.timezone.localtime",
    },
    "django_q.worker": {"rss_check": "the setting max_rss", "worker": "django_q.testing.run_tasks"},
}
"""Names that are where they were, for old code only: module → {name: replacement for new code}."""

OLD_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "django_q.admin": {"QueueAdmin": "django_q_orm.admin.QueueAdmin"},
    "django_q.brokers.aws_sqs": {"Sqs": "django_q_sqs.broker.Sqs"},
    "django_q.brokers.disque": {"Disque": "django_q_disque.broker.Disque"},
    "django_q.brokers.ironmq": {"IronMQBroker": "django_q_ironmq.broker.IronMQBroker"},
    "django_q.brokers.mongo": {"Mongo": "django_q_mongo.broker.Mongo"},
    "django_q.brokers.orm": {"ORM": "django_q_orm.broker.ORM"},
    "django_q.brokers.redis_broker": {"Redis": "django_q_redis.broker.Redis"},
    "django_q.cluster": {
        "Sentinel": "django_q.cluster.old_sentinel.Sentinel",
        "close_old_django_connections": "django_q.utils.close_old_django_connections",
        "db": "django.db",
        "get_mp_context": "django_q.cluster.old_sentinel.get_mp_context",
        "localtime": "django_q.utils.localtime",
        "monitor": "django_q.monitor.monitor",
        "pusher": "django_q.pusher.pusher",
        "rss_check": "django_q.worker.rss_check",
        "save_cached": "django_q.monitor.save_cached",
        "save_task": "django_q.monitor.save_task",
        "scheduler": "django_q.scheduler.scheduler",
        "set_cpu_affinity": "django_q.cluster.old_sentinel.set_cpu_affinity",
        "worker": "django_q.worker.worker",
    },
    "django_q.conf": {
        "ErrorReporter": "django_q.reporters.ErrorReporter",
        "croniter": "croniter",
        "error_reporter": "django_q.reporters.error_reporter",
        "prometheus_multiprocess": "prometheus_client.multiprocess",
        "psutil": "psutil",
        "resource": "resource",
        "setproctitle": "setproctitle",
    },
    "django_q.models": {"OrmQ": "django_q_orm.models.OrmQ"},
    "django_q.results": {"batch_delivery": "django_q.workflows.batch_delivery"},
    "django_q.signals": {"call_hook": "django_q.execution.hooks.call_hook"},
}
"""Names that moved and are imported on first use: old module → {old name: new dotted path}."""

REMOVED_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "django_q": {"default_app_config": "nothing: Django finds the configuration of the app itself"},
    "django_q.models": {"decode_results": "the attributes of a Task, which are decoded"},
    "django_q.tests": {"*": "django_q.testing"},
}
"""Names that do not exist any more: old module → {old name: replacement}."""

OPTIONAL_LIBRARIES: Final = frozenset({"croniter", "prometheus_client", "psutil", "resource", "setproctitle"})
"""Libraries whose old name is None if they are not installed."""

PLUGIN_APPS: Final = frozenset({"django_q_orm"})
"""Packages of plugins that are Django apps."""


def resolver(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which imports an old name when it is first used.

    Args:
        module: dotted path of the module.
    """
    names, removed = OLD_NAMES[module], REMOVED_NAMES.get(module, {})

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's function
        if name in removed:  # an AttributeError would lose its message in `from … import …`
            raise ImportError(f"{module}.{name} was removed: use {removed[name]}.")
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return load(names[name])

    return __getattr__


def load(path: str) -> Any:
    """Import a module, or an attribute of one.

    Args:
        path: its dotted path.

    Returns:
        The module or attribute; None for an optional library that is not installed.

    Raises:
        ImportError: it cannot be imported, or belongs to an app that INSTALLED_APPS lacks.
    """
    package = path.partition(".")[0]
    if package in OPTIONAL_LIBRARIES:
        return import_module(path) if find_spec(package) else None
    if package in ("django", "django_q"):
        return _import(path)
    hint = f"{path} belongs to another distribution: pip install {distribution_of(path)}"
    if package in PLUGIN_APPS:
        hint += f", and add {package!r} to INSTALLED_APPS"
    try:
        found = _import(path)
    except (ImportError, RuntimeError) as error:  # Django raises RuntimeError for a model outside of INSTALLED_APPS
        raise ImportError(f"{hint} ({error}).") from error
    if package in PLUGIN_APPS and not apps.is_installed(package):
        raise ImportError(f"{hint}.")
    return found


def _import(path: str) -> Any:
    parent, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
    return getattr(import_module(parent), name)


def distribution_of(path: str) -> str:
    """Return the name of the distribution that contains a new path; `an optional library` for a path of one."""
    package = path.partition(".")[0]
    if package in OPTIONAL_LIBRARIES:
        return "an optional library"
    return {"django": "Django", "django_q": "django-q-core"}.get(package, package.replace("_", "-"))


class OldName(NamedTuple):
    """Row of the page of old names."""

    name: str
    """Dotted path that code for the public editions imports."""
    status: str
    """`supported`, `courtesy` or `removed`."""
    replacement: str
    """New dotted path, or a text; empty if the name stays."""
    distribution: str
    """Distribution that the name needs; empty if it was removed."""


def rows() -> list[OldName]:
    """Return all names that code for the public editions may import, sorted."""
    core = "django-q-core"
    found = [
        OldName(f"{m}.{name}", "supported", "", core) for m, names in SUPPORTED_NAMES.items() for name in names.split()
    ]
    for module, names in COURTESIES.items():
        found += [OldName(f"{module}.{name}", "courtesy", new, core) for name, new in names.items()]
    for module, names in OLD_NAMES.items():
        found += [OldName(f"{module}.{name}", "courtesy", new, distribution_of(new)) for name, new in names.items()]
    for module, names in REMOVED_NAMES.items():
        found += [OldName(f"{module}.{name}", "removed", new, "") for name, new in names.items()]
    return sorted(found)


def table() -> str:
    """Return the old names as a Markdown table, for docs/reference/old-names.md."""
    lines = [
        f"| `{row.name}` | {row.status} | {in_code(row.replacement)} | {row.distribution} |".replace("|  |", "| |")
        for row in rows()
    ]
    return "\n".join(["| old name | status | for new code | distribution |", "| --- | --- | --- | --- |", *lines])


def in_code(replacement: str) -> str:
    """Return a replacement as Markdown: dotted paths and commands as code, sentences as text."""
    is_path = replacement.replace(".", "").replace("_", "").isalnum() or replacement.startswith(
        ("manage.py", "logging.")
    )
    return f"`{replacement}`" if is_path and ", or " not in replacement else replacement
