"""Calls that put tasks on a queue."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_q import signals
from django_q.brokers import shared_broker
from django_q.conf import current_settings
from django_q.dispatch import run_inline, send
from django_q.package import OPTIONS, TaskPackage, new_package
from django_q.timeout import NO_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

logger = logging.getLogger("django-q")

DEFAULTS = (("cached", "cached"), ("ack_failure", "ack_failures"))
"""Options that take the value of a setting when a call does not give them, and only if the setting was given."""


def async_task(func: str | Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Queue a task for a cluster.

    Args:
        func: the function to run: its dotted path, or the function itself if it can be imported by name.
        *args: its positional arguments.
        **kwargs: its keyword arguments, and these options, which the function does not see:
            `hook` (dotted path or function called with the finished `Task`), `group` (a label), `save` (whether a
            success is saved, whatever the settings say), `timeout` (seconds, may be a fraction; None for none),
            `ack_failure` (whether a failure is acknowledged), `sync` (run it here and now), `cached` (keep the result
            in the cache; True, or for so many seconds), `broker` (a broker to send it through), `cluster` (the name of
            the cluster to run it), `task_name`, and `q_options`: a dict of the same options, which wins over the
            keywords; a keyword that is also in it goes to the function.

    Returns:
        The id of the task.

    Raises:
        BrokerUnavailable: the task was not queued.
        PackageTooLarge: the broker does not take a package of this size.

    Source: the manual, 1.4.1 and 1.4.6.
    """
    options = take_options(kwargs)
    settings = current_settings()
    broker: Broker | None = options.pop("broker", None)
    if broker is None and options.get("cluster"):
        settings_of_target = settings if options["cluster"] == settings.list_key else _settings_for(options["cluster"])
    else:
        settings_of_target = settings
    sync = options.pop("sync", None)
    package = write_down(func, args, kwargs, options, settings)
    signals.emit(signals.pre_enqueue, task=package)
    if settings.sync if sync is None else sync:
        run_inline(package, settings=settings)
        return package["id"]
    broker = broker or shared_broker(settings_of_target, options.get("cluster"))
    send(package, broker=broker, settings=settings)
    if logger.isEnabledFor(logging.INFO):
        logger.info("Enqueued [%s] %s", broker.list_key, package["id"])
    return package["id"]


def take_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Split the options off the keywords of a call.

    Args:
        kwargs: of the call; the options are taken out of it, its `q_options` is left as it is.
    """
    given = kwargs.pop("q_options", None) or {}
    options = dict(given)
    for name in (*OPTIONS, "task_name"):
        if name not in given and name in kwargs:
            options[name] = kwargs.pop(name)
    return options


def write_down(
    func: str | Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    settings: ClusterSettings,
) -> TaskPackage:
    for option, setting in DEFAULTS:
        if option not in options and getattr(settings, setting):
            options[option] = getattr(settings, setting)
    if "timeout" in options and options["timeout"] is None:
        options["timeout"] = NO_TIMEOUT
    return new_package(func, args, kwargs, name=options.pop("task_name", None), **options)


def _settings_for(cluster: str) -> ClusterSettings:
    from django_q.settings import ClusterSettings

    return ClusterSettings.from_django(cluster)

