"""The settings of a cluster, with one typed field for each key of `Q_CLUSTER`.

The docstring of a field contains its meaning, unit, default and origin: a section of the manual, a public edition if
the manual lacks the key, or *ours*. `None` always means the default.
"""

from __future__ import annotations

import dataclasses
import os
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar, cast

from django.conf import settings as django_settings

from django_q.exceptions import ConfigurationError
from django_q.settings import rules
from django_q.settings.rules import Mistake, Rule
from django_q.settings.source import CachedSettings, chosen_by_environment, django_values, own_copy

T = TypeVar("T")

MAX_TASKS_IN_MEMORY: Final = 10_000
"""Maximum number of tasks in memory of a cluster if `queue_limit` is 0, because memory is limited."""

BROKER_ADVICE: Final = "See the broker's page for the keys it takes."
"""Advice for invalid keywords of a broker's client."""

MASK: Final = "********"
"""Text in place of a secret in a list of settings."""


def setting(default: T, rule: Rule, *, secret: bool = False) -> T:
    """Define a field.

    Args:
        default: default of the field.
        rule: rule that its values meet.
        secret: True to omit the value from `repr`, messages and lists.
    """
    metadata = {"rule": rule, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def dictionary(rule: Rule, *, secret: bool = True) -> Mapping[str, Any]:
    """Define a field that is an empty dictionary by default; arguments as of `setting`."""
    metadata = {"rule": rule, "secret": secret}
    return cast("Mapping[str, Any]", dataclasses.field(default_factory=dict, metadata=metadata, repr=not secret))


def derived(default: str, rule: Rule) -> Any:
    """Define a field whose default depends on other fields or the machine.

    Args:
        default: description of the default.
        rule: rule that its values meet.
    """
    return dataclasses.field(default=None, metadata={"rule": rule, "secret": False, "default": default})


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of a cluster, and of the processes that send tasks to it.

    Dictionaries and lists are copies, so that later changes of `settings.py` do not affect existing settings, and
    changes of these do not affect `settings.py`.

    Raises:
        ConfigurationError: types or values are invalid; the message lists all of them.
    """

    # Identity

    name: str = setting("default", rules.text())
    """Name that distinguishes projects which share a broker: the salt of signed packages, and the default queue's name.

    Text. Default `"default"`. Manual 1.2.1."""

    cluster_name: str = derived("name", rules.text())
    """Queue of this cluster, if it differs from the project's name.

    Text. Default: `name`. From django-q2."""

    queues: Sequence[str] = setting((), rules.texts(advice="Write ['default', 'mail'], for instance."))
    """Queues that this cluster consumes, each the name of a cluster. `"default"` means its own queue.

    List of texts. Default: its own queue only. `qcluster --queues default,mail` overrides it. Ours."""

    alt_clusters: Mapping[str, Mapping[str, Any]] = dictionary(
        rules.mapping_of_mappings(advice="Give each cluster's name the settings that differ, as a dictionary.")
    )
    """Other clusters of the project by name, with the settings in which each differs. The key is `ALT_CLUSTERS`.

    Dictionary of dictionaries. Default: none. From django-q2."""

    label: str = setting("Django Q", rules.text())
    """Heading of the app in the admin.

    Text. Default `"Django Q"`. Manual 1.2.15."""

    # Workers

    workers: int = derived("the number of processors", rules.whole(0))
    """Number of worker processes of a cluster.

    Whole number. Default (also when 0): the number of processors of the machine. Manual 1.2.2."""

    daemonize_workers: bool = setting(True, rules.flag())
    """True if workers are daemons. A daemon ends with its parent, and cannot start child processes.

    True or False. Default `True`. Manual 1.2.3."""

    recycle: int = setting(500, rules.whole(0, unit="tasks"))
    """Number of tasks after which a worker is recycled; 0: never.

    Tasks. Default 500. Manual 1.2.4."""

    max_rss: int | None = setting(None, rules.whole(1, unit="kilobytes", advice="Use None for no limit."))
    """Maximum memory of a worker after a task. A worker with more is recycled.

    Kilobytes, resident and current. Default `None`: no limit. Manual 1.2.5."""

    cpu_affinity: int = setting(0, rules.whole(0, unit="processors"))
    """Number of processors that each worker may use. It has an effect if the machine has more.

    Processors. Default 0: all. Manual 1.2.33."""

    start_method: str = derived('"fork" on Linux, else "spawn"', rules.start_method())
    """Start method of processes: `"fork"`, `"spawn"` or `"forkserver"`. The last two need picklable values in
    `Q_CLUSTER`.

    Text. Default `"fork"` on Linux, `"spawn"` elsewhere. Ours."""

    # Time

    timeout: float | None = setting(None, rules.seconds(above=0, advice="Use None for no time limit."))
    """Time limit of a task; a task's option `timeout` overrides it.

    Seconds, above 0. Default `None`: no limit. Manual 1.2.6."""

    import_timeout: float = setting(60.0, rules.seconds(above=0))
    """Maximum time to import the module of a task's function. It is not part of the task's `timeout`.

    Seconds, above 0. Default 60. Unpickling the arguments may take as long as `timeout`, at least 8 seconds and at
    most this. Ours."""

    guard_cycle: float = setting(0.5, rules.seconds(above=0, below=60))
    """Interval at which the sentinel checks its processes if no event wakes it.

    Seconds, above 0 and below 60. Default 0.5. Manual 1.2.12."""

    guard_timeout: float = setting(60, rules.seconds(above=2))
    """Time without progress after which the sentinel replaces a process, for example because a server hangs.

    A running task or hook is exempt: `timeout` ends it. Each process makes a step at least once a second.

    Seconds, above 2. Default 60. Ours."""

    stop_timeout: float = setting(25.0, rules.seconds())
    """Time in which running tasks may end when the cluster stops.

    Seconds. Default 25, within the 30 that container platforms allow. Ours."""

    # Delivery

    retry: float = setting(60, rules.seconds(above=0))
    """Duration of a lease. The broker redelivers a package whose lease expired.

    Seconds, above 0. Default 60. On brokers that renew leases, a task may run longer than this; on others it must be
    more than `timeout`. Manual 1.2.9."""

    max_attempts: int = setting(0, rules.whole(0, unit="attempts"))
    """Maximum number of attempts at a failing task; 0: no limit.

    Attempts. Default 0. Manual 1.2.8."""

    ack_failures: bool = setting(False, rules.flag())
    """True to acknowledge a failure like a success. Otherwise, the task is redelivered.

    True or False. Default `False`. A task's own option is `ack_failure`. Manual 1.2.7."""

    bulk: int = setting(1, rules.whole(1, unit="packages"))
    """Number of packages that one request fetches, on brokers that support it.

    Packages. Default 1. Manual 1.2.27."""

    poll: float = setting(0.2, rules.seconds(above=0))
    """Interval at which an empty queue is polled, on brokers without blocking requests.

    Seconds, above 0. Default 0.2. Manual 1.2.28."""

    queue_limit: int = derived("workers ** 2", rules.whole(0, unit="tasks"))
    """Maximum number of tasks in memory of one cluster. The queue in the broker has no limit.

    Very short tasks are prefetched: as many as the workers finish in 10 ms, at most 256 tasks and 128 KiB. Tasks that
    have not started after 50 ms are released, if the broker supports prefetching (Redis, the database, MongoDB).

    Tasks. Default: `workers` squared. 0 or an explicit `None`: no limit of yours, and 10,000 of ours. Manual 1.2.14."""

    compress: bool = setting(False, rules.flag())
    """True to compress packages.

    True or False. Default `False`. Manual 1.2.10."""

    sync: bool = setting(False, rules.flag())
    """True to execute tasks at once, in the process that sends them.

    True or False. Default `False`. Manual 1.2.13."""

    sync_raises: bool = setting(False, rules.flag())
    """True to raise the exception of a task that is executed at once, in the sender. Its failure is saved, too.

    True or False. Default `False`. Ours."""

    on_commit: bool = setting(False, rules.flag())
    """True to send tasks when the current database transaction commits, and not if it is rolled back.

    True or False. Default `False`. Ours."""

    # Results

    save_limit: int = setting(250, rules.whole(unit="tasks"))
    """Number of successes that are kept in the database; 0: all; below 0: none. Failures are always kept.

    The scheduler process deletes those beyond the limit once a second, also with `scheduler: False`; the oldest 20,000
    at once if there are more. A success that is protected by a foreign key, or by a receiver that raises, is skipped.

    Tasks. Default 250. Manual 1.2.11."""

    save_limit_per: str | None = setting(None, rules.choice("group", "name", "func"))
    """Column for whose values `save_limit` applies separately: `"group"`, `"name"` or `"func"`.

    Text. Default `None`: all together. From django-q2."""

    cached: bool | float = setting(False, rules.flag_or_seconds())
    """True to keep results in the cache instead of the database, or the number of seconds for which they are kept.

    True, False or seconds. Default `False`. Manual 1.2.30."""

    cache: str = setting("default", rules.text())
    """Cache for results, and for statistics if the broker cannot keep them.

    Alias in `CACHES`. Default `"default"`. Manual 1.2.29."""

    track: bool = setting(False, rules.flag())
    """True to keep a record of each task from the moment it is sent; a task's option `track` overrides it.

    True or False. Default `False`. Ours."""

    keep_records: float = setting(7 * 86_400, rules.seconds())
    """Time for which the record of a finished task is kept.

    Seconds. Default 604,800: a week. 0: no limit. Ours."""

    max_records: int = setting(100_000, rules.whole(0, unit="records"))
    """Maximum number of records of finished tasks in each state. The oldest are deleted first.

    Records. Default 100,000. 0: no limit. Ours."""

    batch_timeout: float = setting(86_400, rules.seconds(above=0))
    """Time without progress after which an iter is completed without its missing members, which are lost.

    Seconds, above 0. Default 86,400: a day. Counted from the time at which its members may run, or from the last
    outcome or news of one. Ours."""

    # Schedules

    scheduler: bool = setting(True, rules.flag())
    """True if this cluster sends the tasks of schedules.

    True or False. Default `True`. Manual 1.2.31."""

    catch_up: bool = setting(True, rules.flag())
    """True to send one task for each slot that passed while no cluster ran.

    True or False. Default `True`. Manual 1.2.16."""

    schedules: Sequence[Mapping[str, Any]] | None = setting(
        None, rules.mappings(advice="Write [{'func': 'myapp.tasks.report', 'cron': '0 22 * * *'}], for instance.")
    )
    """Schedules that the code declares. They are created, updated and deleted when a cluster starts.

    List of dictionaries with `func` and arguments of `schedule()`. Default `None`: none. Ours."""

    time_zone: str | None = setting(None, rules.time_zone())
    """Time zone in which the slots of schedules are calculated.

    IANA name. Default: Django's `TIME_ZONE`. Without `USE_TZ` it is always `None`. From django-q2."""

    has_replica: bool = setting(False, rules.flag())
    """Accepted for compatibility, without effect. A cluster reads rows that its writes depend on from the database that
    the router chooses for writing.

    True or False. Default `False`. Manual 1.2.23."""

    # Errors

    error_reporter: Mapping[str, Mapping[str, Any]] = dictionary(
        rules.mapping_of_mappings(advice="Give each reporter's name its keywords, as a dictionary.")
    )
    """Error reporters that are notified of failures: the name of each, with its keywords.

    Dictionary of dictionaries. Default: none. Manual 1.2.32."""

    log_level: str | int = setting("INFO", rules.log_level())
    """Minimum level of log records, if the project configures no logging for `django-q`.

    Name or number of a level. Default `"INFO"`. Undocumented in the public editions."""

    log_json: bool = setting(False, rules.flag())
    """True to write the log of `django-q` as lines of JSON on standard error, instead of what the project configures.

    True or False. Default `False`. Ours."""

    tracing: bool = setting(False, rules.flag())
    """True to trace tasks with OpenTelemetry: spans for sending and executing them, in the same trace.

    True or False. Default `False`. It needs `django-q-core[tracing]`, and an SDK that the project configures. Ours."""

    # Brokers, in order of precedence

    broker_class: str | type | None = setting(  # noqa: RUF009
        None, rules.class_or_path(advice="Write 'myapp.broker.CustomBroker', for instance.")
    )
    """Custom broker.

    Dotted path, or the class itself. Default `None`. Manual 1.2.26."""

    disque_nodes: Sequence[str] | None = setting(None, rules.texts(advice="Split a text: os.environ[...].split(',')."))
    """Disque servers. A process chooses one at random.

    List of `"host:port"`. Default `None`. Manual 1.2.19."""

    disque_auth: str | None = setting(None, rules.text(), secret=True)
    """Password of the Disque servers.

    Text. Default `None`. Manual 1.2.20."""

    disque_fastack: bool = setting(False, rules.flag())
    """True to acknowledge with Disque's FASTACK, which is faster and less reliable.

    True or False. Default `False`. From django-q, undocumented."""

    iron_mq: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the IronMQ client.

    Dictionary. Default `None`. Manual 1.2.21."""

    sqs: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the Amazon SQS session; an empty dictionary chooses SQS, configured as boto3 finds it.

    Dictionary. Default `None`. Manual 1.2.22."""

    orm: str | None = setting(None, rules.text(advice="Write the alias of a database, such as 'default'."))
    """Database that is the broker.

    Alias in `DATABASES`. Default `None`. Manual 1.2.23."""

    mongo: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the MongoDB client.

    Dictionary. Default `None`. Manual 1.2.24."""

    mongo_db: str | None = setting(None, rules.text())
    """MongoDB database of the queues.

    Text. Default `None`: the one in the address, else `django-q`. Manual 1.2.25."""

    django_redis: str | None = setting(None, rules.text(advice="Write the alias of a cache, such as 'default'."))
    """Cache of django-redis whose connection is used for Redis.

    Alias in `CACHES`. Default `None`. Manual 1.2.18."""

    redis: Mapping[str, Any] | str = cast(
        "Mapping[str, Any] | str", dictionary(rules.mapping_or_text(advice=BROKER_ADVICE))
    )
    """Address of Redis: keywords of its client, or a URL.

    Dictionary or text. Default `{}`: this machine. Manual 1.2.17."""

    # Origin of the values

    others: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    """Unknown keys: those of third-party brokers, and typos."""

    explicit: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)
    """Fields that `Q_CLUSTER` sets, to any value. Without `Q_CLUSTER`: fields that differ from their defaults."""

    def __post_init__(self) -> None:
        """Validate the fields, then set derived defaults."""
        given = {name: own_copy(getattr(self, name)) for name in FIELDS}
        if mistakes := find_mistakes(given):
            raise ConfigurationError(describe(mistakes))
        values = {name: default_of(FIELDS[name]) if value is None else value for name, value in given.items()}
        chosen = {name for name, value in values.items() if value != default_of(FIELDS[name])}
        vars(self).update(with_derived_defaults(values), others=own_copy(self.others), explicit=self.explicit | chosen)

    def __hash__(self) -> int:
        """Return a hash, so that settings can be keys of dictionaries, for example of connections."""
        return hash((self.name, self.cluster_name))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, cluster: str | None = None) -> Self:
        """Create settings from a `Q_CLUSTER` dictionary.

        Args:
            mapping: the dictionary.
            cluster: name of one of its `ALT_CLUSTERS`, whose settings override the others. Another name is that of
                another queue with the same settings. None for the project's own cluster.

        Raises:
            ConfigurationError: a value is invalid.
        """
        ours, others = sort_keys(with_alternative(mapping, cluster))
        explicit = frozenset(name for name, value in ours.items() if value is not None)
        if "queue_limit" in ours and ours["queue_limit"] is None:
            ours["queue_limit"] = 0
        return cls(**ours, others=others, explicit=explicit)

    @classmethod
    def from_django(cls, cluster: str | None = None) -> Self:
        """Return the current settings of Django.

        A further call takes a few microseconds if nothing has changed. A change is detected if `Q_CLUSTER` is another
        dictionary, if one of its values is another object, or if the content of a dictionary or list in it is not equal
        any more.

        Args:
            cluster: name as for `from_mapping`; None for the environment variable `Q_CLUSTER_NAME`.

        Raises:
            ConfigurationError: a value is invalid.
        """
        raw, zone = django_values()
        cluster = cluster or chosen_by_environment()
        known = _known.get((cls, cluster))
        if known is not None and known.is_current(raw, zone):
            return cast("Self", known.settings)
        made = cls.from_mapping(django_mapping(cluster))
        if len(_known) > MAX_KNOWN_SETTINGS:
            _known.clear()
        _known[cls, cluster] = CachedSettings.of(raw, zone, made)
        return made

    @property
    def list_key(self) -> str:
        """Queue of this cluster. A broker may add a prefix or suffix."""
        return self.cluster_name

    @property
    def salt(self) -> str:
        """Salt of the signatures of packages, the same for all clusters of a project. Other values have their own."""
        return self.name

    @property
    def q_stat(self) -> str:
        """Key of the statistics of the project's clusters."""
        return f"django_q:{self.name}:cluster"

    @property
    def is_default_cluster(self) -> bool:
        """True if this is the project's own queue, whose cluster sends the schedules that name no cluster."""
        return self.cluster_name == self.name

    def masked(self) -> dict[str, Any]:
        """Return the settings by key, with asterisks in place of values that may contain a secret."""
        return {key_of(name): mask(FIELDS[name], getattr(self, name)) for name in FIELDS}


FIELDS: Final = {field.name: field for field in dataclasses.fields(ClusterSettings) if "rule" in field.metadata}
"""Fields that are keys of `Q_CLUSTER`, by name."""

FIELDS_BY_KEY: Final = {"ALT_CLUSTERS" if name == "alt_clusters" else name: name for name in FIELDS}
"""Name of the field of each key of `Q_CLUSTER`."""

MAX_KNOWN_SETTINGS: Final = 64
"""Maximum number of clusters whose settings are remembered."""


def key_of(name: str) -> str:
    """Return the key of `Q_CLUSTER` for a field."""
    return next(key for key, field in FIELDS_BY_KEY.items() if field == name)


def mistakes_in(mapping: Mapping[str, Any], cluster: str | None = None) -> list[Mistake]:
    """Return the mistakes in the settings of one cluster of a `Q_CLUSTER` dictionary. Unknown keys are no mistakes."""
    return find_mistakes(sort_keys(with_alternative(mapping, cluster))[0])


def find_mistakes(values: Mapping[str, Any]) -> list[Mistake]:
    """Return the fields whose value violates their rule, and a cluster name that belongs to a dead-letter queue."""
    wrong = [
        Mistake(key_of(name), show(FIELDS[name], value), rule.expected, rule.advise(value), rule.has_kind(value))
        for name, value in values.items()
        if value is not None and not (rule := cast("Rule", FIELDS[name].metadata["rule"])).accepts(value)
    ]
    own = "cluster_name" if values.get("cluster_name") else "name"
    if rules.is_dead_letter_queue(found := values.get(own)):
        wrong.append(Mistake(own, show(FIELDS[own], found), rules.CLUSTER_NAME, "Choose another cluster_name.", True))
    return wrong


def describe(mistakes: Sequence[Mistake]) -> str:
    """Return one message with all mistakes."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return "\n".join([f"Q_CLUSTER in the Django settings has {count}:", *(f"- {mistake}" for mistake in mistakes)])


def show(field: dataclasses.Field[Any], value: object) -> str:
    """Return the text of a value for a message; of a secret, the type only."""
    kind = f"of type {type(value).__name__}"
    return kind if field.metadata["secret"] else f"{reprlib.repr(value)} ({kind})"


def mask(field: dataclasses.Field[Any], value: object) -> object:
    """Return a value for a list of settings; asterisks in place of a secret."""
    return MASK if value and field.metadata["secret"] else value


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field; None if it is derived."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def with_alternative(mapping: Mapping[str, Any], cluster: str | None) -> Mapping[str, Any]:
    """Return the settings of one cluster of a `Q_CLUSTER` dictionary.

    Args:
        mapping: the dictionary.
        cluster: name of the cluster; None for the project's own.

    Raises:
        ConfigurationError: *mapping* is no dictionary.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigurationError(
            f"Q_CLUSTER in the Django settings is a {type(mapping).__name__}: make it a dictionary."
        )
    if not cluster or cluster in (mapping.get("name") or ClusterSettings.name, mapping.get("cluster_name")):
        return mapping
    alternatives = mapping.get("ALT_CLUSTERS")
    found = alternatives.get(cluster) if isinstance(alternatives, Mapping) else None
    own: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    return {**mapping, **{key: own[key] for key in own if key not in ("name", "cluster_name")}, "cluster_name": cluster}


def django_mapping(cluster: str | None = None) -> Mapping[str, Any]:
    """Return the settings of one cluster of Django's `Q_CLUSTER`, with Django's time zone if it has none."""
    raw, zone = django_values()
    mapping = with_alternative({} if raw is None else raw, cluster or chosen_by_environment())
    return {**mapping, "time_zone": (mapping.get("time_zone") or zone) if django_settings.USE_TZ else None}


def sort_keys(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of known fields, by field, and those of unknown keys."""
    ours = {FIELDS_BY_KEY[key]: value for key, value in mapping.items() if key in FIELDS_BY_KEY}
    return ours, {key: value for key, value in mapping.items() if key not in FIELDS_BY_KEY}


def with_derived_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the defaults that depend on other values or on the machine."""
    workers = values["workers"] or os.cpu_count() or 4
    limit = values["queue_limit"]
    return {name: bool(value) if FIELDS[name].type == "bool" else value for name, value in values.items()} | {
        "workers": workers,
        "queue_limit": workers**2 if limit is None else limit or MAX_TASKS_IN_MEMORY,
        "cluster_name": values["cluster_name"] or values["name"],
        "start_method": values["start_method"] or ("fork" if sys.platform == "linux" else "spawn"),
    }


_known: dict[tuple[type, str | None], CachedSettings] = {}
