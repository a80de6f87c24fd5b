"""System checks of the settings, which docs/reference/checks.md lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.conf import settings as django_settings
from django.core import checks
from django.core.cache import caches
from django.db import connections, router

from django_q import tracing
from django_q.brokers.registry import BROKERS, PRECEDENCE, broker_class, broker_key
from django_q.caches.sharing import is_private
from django_q.databases.sqlite import missing_options
from django_q.exceptions import BrokenPlugin, ConfigurationError, MissingPlugin
from django_q.plugins import distribution_for
from django_q.reporters import REPORTERS
from django_q.settings import ClusterSettings
from django_q.settings.fields import FIELDS_BY_KEY, django_mapping, mistakes_in
from django_q.text import one_line
from django_q.wire.option_values import LABEL_CHARACTERS

if TYPE_CHECKING:
    from django.apps import AppConfig

CHECK_TAG: Final = "django_q"

Finder: TypeAlias = Callable[[str | None], Iterable[checks.CheckMessage]]
"""Function that finds the problems of one of the `ALT_CLUSTERS`, or with None of the project's own cluster."""

DATABASE_CACHE: Final = "django.core.cache.backends.db.DatabaseCache"
"""Django's cache in a database."""

OTHER_EDITIONS: Final = ("django-q", "django-q2")
"""Distributions with the same import name as this one."""

REASONS: Final = {
    "transaction_mode": "a request that reads and then writes in one transaction fails with 'database is locked' "
    "if the cluster writes in between",
    "init_command": "without WAL, reading and writing wait for each other, and a commit waits longer for the disk",
}
"""Consequence of each option of SQLite that is missing."""


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that each key of Q_CLUSTER is known and has a valid value."""
    raw = q_cluster()
    if not isinstance(raw, Mapping):
        hint = "Write Q_CLUSTER = {'name': 'myproject', ...}, or leave it out."
        return [
            checks.Error(f"Q_CLUSTER is a {type(raw).__name__}, expected a dictionary.", hint=hint, id="django_q.E001")
        ]
    return for_each_cluster(raw, lambda cluster: [*wrong_values(raw, cluster), *unknown_keys(raw, cluster)])


def check_installation(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that brokers, databases, caches and reporters of the settings exist and suit each other.

    Without valid settings, this check returns no messages, and so do the following ones.
    """
    raw = q_cluster()
    if not isinstance(raw, Mapping):
        return []

    def problems(cluster: str | None) -> Iterable[checks.CheckMessage]:
        if mistakes_in(raw, cluster):
            return []
        settings = ClusterSettings.from_mapping(django_mapping(cluster))
        long = [] if settings.sync else [*long_names(settings)]
        broker = [] if settings.sync else [*rival_brokers(settings), *broker_problems(settings)]
        plugins = [*missing_reporters(settings), *missing_tracing(settings)]
        found = [*long, *broker, *unknown_aliases(settings), *private_cache(settings), *plugins]
        return found if settings.sync else [*found, *no_autocommit(settings)]

    return for_each_cluster(raw, problems)


def check_editions(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E014: another distribution with the import name `django_q` is installed, so that files replace each other."""
    found = [name for name in OTHER_EDITIONS if is_distribution(name)]
    if not found:
        return []
    text = f"{' and '.join(found)} and django-q-core are installed, and each has files of the package django_q."
    hint = (
        f"pip uninstall {' '.join(found)}, then pip install --force-reinstall --no-deps django-q-core. If an add-on "
        "requires it, install the add-on with --no-deps."
    )
    return [checks.Error(text, hint=hint, id="django_q.E014")]


def is_distribution(name: str) -> bool:
    """Return True if a distribution is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def check_schedules(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that the declared schedules can be created."""
    raw = q_cluster()
    if not isinstance(raw, Mapping):
        return []
    return for_each_cluster(raw, lambda cluster: [] if mistakes_in(raw, cluster) else [*invalid_schedules(cluster)])


def check_sqlite(
    app_configs: Sequence[AppConfig] | None, databases: Iterable[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Check that a site and a cluster can share an SQLite file.

    Args:
        app_configs: not used.
        databases: aliases of the databases to check; None for all.
        **kwargs: not used.
    """
    raw = q_cluster()
    if not isinstance(raw, Mapping):
        return []
    asked = None if databases is None else {*databases}

    def problems(cluster: str | None) -> Iterable[checks.CheckMessage]:
        return [] if mistakes_in(raw, cluster) else shared_sqlite(cluster, asked)

    return for_each_cluster(raw, problems)


def shared_sqlite(cluster: str | None, asked: set[str] | None) -> Iterator[checks.CheckMessage]:
    """W006: writes of a cluster slow down requests of the site, or let them fail."""
    settings = ClusterSettings.from_mapping(django_mapping(cluster))
    aliases = [] if settings.sync else databases_of(settings)
    for alias in (alias for alias in aliases if asked is None or alias in asked):
        missing = missing_options(connections[alias])
        reasons = [REASONS[option] for option in missing]
        if missing:
            text = f"The cluster writes to the SQLite file of the database {alias!r}: {'; '.join(reasons)}."
            options = ", ".join(f"{name!r}: {value!r}" for name, value in missing.items())
            hint = f"Add {options} to OPTIONS in DATABASES[{alias!r}]."
            yield checks.Warning(text, hint=hint, id="django_q.W006")


def databases_of(settings: ClusterSettings) -> list[str]:
    """Return the aliases of the databases that a cluster writes to: of its broker and of the models."""
    from django_q.models import Batch, Command, Record, Schedule, Task  # not loaded when the checks are registered

    own = [settings.orm] if settings.orm else []
    aliases = dict.fromkeys([*own, *map(router.db_for_write, (Task, Batch, Schedule, Record, Command))])
    return [alias for alias in aliases if alias in django_settings.DATABASES]


def invalid_schedules(cluster: str | None) -> Iterator[checks.CheckMessage]:
    """E008: a declared schedule is invalid."""
    from django_q.schedules.reasons import reason_of
    from django_q.schedules.synchronising import invalid  # models are not loaded when the checks are registered

    for name, error in invalid(ClusterSettings.from_mapping(django_mapping(cluster))):
        text = f"The declared schedule {one_line(name)!r} is invalid ({reason_of(error)})."
        hint = "Correct it in Q_CLUSTER['schedules'], or where @scheduled declares it."
        yield checks.Error(text, hint=hint, id="django_q.E008")


def wrong_values(raw: Mapping[str, Any], cluster: str | None) -> Iterator[checks.CheckMessage]:
    """E001: a value has the wrong type; E002: a value of the right type is out of range."""
    for mistake in mistakes_in(raw, cluster):
        number = "E002" if mistake.right_kind else "E001"
        text = f"{mistake.key} is {mistake.found}, expected {mistake.expected}."
        yield checks.Error(text, hint=mistake.advice or "Correct it in the Django settings.", id=f"django_q.{number}")


def unknown_keys(raw: Mapping[str, Any], cluster: str | None) -> Iterator[checks.CheckMessage]:
    """W001: a key is unknown."""
    known = {*FIELDS_BY_KEY, *BROKERS.names()}
    for key in sorted({str(key) for key in own_part(raw, cluster)} - known):
        similar = get_close_matches(key.lower(), lower := {name.lower(): name for name in known}, 1)
        hint = f"Did you mean {lower[similar[0]]!r}?" if similar else "Remove it, or install the plugin that uses it."
        yield checks.Warning(f"Unknown key {key!r} in Q_CLUSTER; it is ignored.", hint=hint, id="django_q.W001")


def rival_brokers(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """W002: two brokers are configured."""
    asked = [key for key in ("broker_class", *PRECEDENCE, "redis") if asks_for_broker(settings, key)]
    asked += sorted(settings.others.keys() & BROKERS.names())
    if len(asked) > 1:
        winner = "broker_class" if settings.broker_class else broker_key(settings)
        text = f"{len(asked)} brokers are configured: {', '.join(asked)}. {winner!r} is used."
        losers = ", ".join(repr(key) for key in asked if key != winner)
        yield checks.Warning(text, hint=f"Remove {losers}, or set to None.", id="django_q.W002")


def asks_for_broker(settings: ClusterSettings, key: str) -> bool:
    """Return True if a key configures a broker. An empty dictionary configures SQS, but no other broker."""
    value = getattr(settings, key)
    return value is not None if key == "sqs" else bool(value)


def broker_problems(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """E003: the broker is not installed; E004: its app is not in INSTALLED_APPS; E007: it cannot be imported.

    The messages of `redelivery` and `impossible_name` are included.
    """
    key = broker_key(settings)
    try:
        if not settings.broker_class and (app := BROKERS.missing_app(key)):
            text = f"The broker {key!r} is an app, and INSTALLED_APPS lacks it."
            yield checks.Error(text, hint=f"Add {app!r} to INSTALLED_APPS.", id="django_q.E004")
            return
        broker = broker_class(settings)
        yield from [*redelivery(settings, broker), *impossible_name(settings, broker)]
    except ConfigurationError as error:
        number = "E003" if isinstance(error, MissingPlugin) else "E007"
        yield checks.Error(str(error), hint=remedy(key, error), id=f"django_q.{number}")


def remedy(name: str, error: ConfigurationError) -> str:
    """Return the hint for a plugin that cannot be used.

    Args:
        name: key of the plugin in the settings.
        error: the reason.
    """
    if isinstance(error, BrokenPlugin):
        return f"Correct the cause in the message, or remove {name!r} from Q_CLUSTER."
    if isinstance(error, MissingPlugin):
        return f"pip install {distribution_for(name)}, or remove {name!r} from Q_CLUSTER."
    return "Correct the settings, or uninstall all but one of the distributions."


def redelivery(settings: ClusterSettings, broker: Any) -> Iterator[checks.CheckMessage]:
    """E007: the configured class is no broker; W003: a task may be executed twice at the same time."""
    if not callable(getattr(broker, "enqueue", None)) or not callable(getattr(broker, "dequeue", None)):
        hint = "Let it inherit from django_q.brokers.Broker."
        yield checks.Error(
            f"{broker.__name__} is not a broker: it has no enqueue and dequeue.", hint=hint, id="django_q.E007"
        )
    elif may_redeliver(settings) and broker.supports_receipts and not broker.supports_renewal:
        text = f"retry ({settings.retry}) is not more than timeout ({settings.timeout}), and {broker.__name__} "
        hint = "Set retry to more seconds than timeout."
        yield checks.Warning(
            text + "offers a task again after retry seconds while it runs.", hint=hint, id="django_q.W003"
        )


def impossible_name(settings: ClusterSettings, broker: Any) -> Iterator[checks.CheckMessage]:
    """E010: the broker's product cannot have a queue with this name."""
    find = getattr(broker, "name_problem", None)
    if find is not None and (problem := find(settings.list_key)) is not None:
        text = f"The queue {settings.list_key!r} cannot exist: {problem}."
        yield checks.Error(text, hint="Choose another name for the cluster.", id="django_q.E010")


def long_names(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """E015: the columns for queues cannot store the name of a cluster."""
    for name in dict.fromkeys((settings.list_key, *settings.queues)):
        if len(name) > LABEL_CHARACTERS:
            text = f"{name[:20]!r}… is the name of a cluster, and has {len(name)} characters."
            hint = f"Choose a name of at most {LABEL_CHARACTERS} characters: tasks and schedules are saved with it."
            yield checks.Error(text, hint=hint, id="django_q.E015")


def may_redeliver(settings: ClusterSettings) -> bool:
    """Return True if a task may run longer than a lease that is not renewed."""
    return settings.timeout is not None and settings.retry <= settings.timeout


def unknown_aliases(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """E005: a database does not exist; E006: a cache does not exist."""
    if settings.orm and settings.orm not in django_settings.DATABASES:
        yield no_alias("orm", settings.orm, "DATABASES", django_settings.DATABASES, "django_q.E005")
    for key, alias in (("cache", settings.cache), ("django_redis", settings.django_redis)):
        if alias and alias not in django_settings.CACHES:
            yield no_alias(key, alias, "CACHES", django_settings.CACHES, "django_q.E006")


def no_autocommit(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """E009: a database that a cluster writes to does not commit automatically."""
    for alias in sorted(written_databases(settings)):
        if not django_settings.DATABASES.get(alias, {}).get("AUTOCOMMIT", True):
            text = f"DATABASES[{alias!r}]['AUTOCOMMIT'] is False: what a cluster writes there is not committed."
            hint = "Remove it, and call transaction.set_autocommit(False) where the project needs it."
            yield checks.Error(text, hint=hint, id="django_q.E009")


def written_databases(settings: ClusterSettings) -> set[str]:
    """Return the aliases of `databases_of`, and that of results in a cache."""
    found = set(databases_of(settings))
    if django_settings.CACHES.get(settings.cache, {}).get("BACKEND") == DATABASE_CACHE:
        found.add(router.db_for_write(caches[settings.cache].cache_model_class))  # type: ignore[attr-defined]
    return found


def no_alias(key: str, alias: str, where: str, aliases: Iterable[str], number: str) -> checks.CheckMessage:
    """Return the error for an unknown alias.

    Args:
        key: the setting.
        alias: its value.
        where: the Django setting that lacks the alias.
        aliases: the aliases in it.
        number: id of the check.
    """
    hint = f"Use one of {', '.join(map(repr, aliases)) or '(none)'}, or add it to {where}."
    return checks.Error(f"{key} is {alias!r}, which is not in {where}.", hint=hint, id=number)


def private_cache(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """W004: results are kept in a cache that only their worker can read."""
    if settings.cached and not settings.sync and is_private(settings.cache):
        text = f"cached is set, and other processes cannot read the cache {settings.cache!r}."
        hint = "Let Q_CLUSTER['cache'] name a cache that processes share, such as Redis or the database cache."
        yield checks.Warning(text, hint=hint, id="django_q.W004")


def missing_reporters(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """W005: an error reporter is not installed or cannot be imported, so that it reports nothing."""
    for name in settings.error_reporter:
        try:
            REPORTERS.load(name)
        except ConfigurationError as error:
            yield checks.Warning(str(error), hint=remedy(name, error), id="django_q.W005")


def missing_tracing(settings: ClusterSettings) -> Iterator[checks.CheckMessage]:
    """W007: opentelemetry-api is not installed, so that nothing is traced."""
    if settings.tracing and not tracing.is_installed():
        hint = "pip install 'django-q-core[tracing]', and configure an SDK."
        yield checks.Warning("tracing is set, and opentelemetry-api is not installed.", hint=hint, id="django_q.W007")


def q_cluster() -> Any:
    """Return Q_CLUSTER of the Django settings, which may have any type; an empty dictionary without it."""
    raw = getattr(django_settings, "Q_CLUSTER", None)
    return dict[str, Any]() if raw is None else raw


def for_each_cluster(raw: Mapping[str, Any], find: Finder) -> list[checks.CheckMessage]:
    """Return the messages for the project's cluster, and further ones for each of its `ALT_CLUSTERS`."""
    messages: list[checks.CheckMessage] = [*find(None)]
    alternatives = raw.get("ALT_CLUSTERS")
    for cluster in alternatives if isinstance(alternatives, Mapping) else ():
        for message in find(cluster):
            if message not in messages:
                messages.append(message)
                message.msg = f"ALT_CLUSTERS[{cluster!r}]: {message.msg}"
    return messages


def own_part(raw: Mapping[str, Any], cluster: str | None) -> Mapping[str, Any]:
    """Return the keys of one cluster alone; empty if they are no dictionary."""
    own = raw if cluster is None else raw["ALT_CLUSTERS"][cluster]
    return own if isinstance(own, Mapping) else {}
