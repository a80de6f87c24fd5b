"""The settings of a cluster: one typed field a key of `Q_CLUSTER`.

Each field says what it means, its unit, its default and where the key comes from: a section of the manual, one of
the public editions where the manual is silent, or *ours*. `None` always means the default.
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
from django_q.settings.source import Known, chosen_by_environment, django_values, own_copy

T = TypeVar("T")

MAX_TASKS_IN_MEMORY: Final = 10_000
"""How many tasks a cluster holds in memory when `queue_limit` is 0: memory is not unlimited."""


BROKER_ADVICE: Final = "See the broker's page for the keys it takes."


def setting(default: T, rule: Rule, *, secret: bool = False) -> T:
    """A field with its default and its rule; a secret one stays out of the `repr`."""
    metadata = {"rule": rule, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def dictionary(rule: Rule, *, secret: bool = True) -> Mapping[str, Any]:
    """A field that is an empty dictionary by default."""
    metadata = {"rule": rule, "secret": secret}
    return cast("Mapping[str, Any]", dataclasses.field(default_factory=dict, metadata=metadata, repr=not secret))


def derived(default: str, rule: Rule) -> Any:
    """A field whose default is worked out when the settings are made; `default` says how."""
    return dataclasses.field(default=None, metadata={"rule": rule, "secret": False, "default": default})


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Everything a cluster, or who sends to it, may be told.

    Wrong types and values are refused when the settings are made, all of them at once. Dictionaries and lists are
    copies: what is changed in `settings.py` later does not reach settings already made, nor the other way round.
    """

    # Who we are

    name: str = setting("default", rules.text())
    """Tells projects apart that share a broker; the salt of signed packages and, on most brokers, the queue's name.

    Text. Default `"default"`. Manual 1.2.1."""

    cluster_name: str = derived("name", rules.text())
    """The queue this cluster works on, when it is not called like the project.

    Text. Default: `name`. From django-q2."""

    alt_clusters: Mapping[str, Mapping[str, Any]] = dictionary(
        rules.mapping_of_mappings(advice="Give each cluster's name the settings that differ, as a dictionary.")
    )
    """Other clusters of the project by name, each with the settings in which it differs; written `ALT_CLUSTERS`.

    Dictionary of dictionaries. Default: none. From django-q2."""

    label: str = setting("Django Q", rules.text())
    """The heading in the admin.

    Text. Default `"Django Q"`. Manual 1.2.15."""

    # Workers

    workers: int = derived("the number of processors", rules.whole(0))
    """How many worker processes a cluster has.

    Whole number. Default (also when 0): the number of processors of the machine. Manual 1.2.2."""

    daemonize_workers: bool = setting(True, rules.flag())
    """Are workers daemons? A daemon ends with its parent, and cannot start processes of its own.

    True or False. Default `True`. Manual 1.2.3."""

    recycle: int = setting(500, rules.whole(0, unit="tasks"))
    """How many tasks a worker runs before a fresh one takes its place; 0: it is never replaced.

    Tasks. Default 500. Manual 1.2.4."""

    max_rss: int | None = setting(None, rules.whole(1, unit="kilobytes", advice="Use None for no limit."))
    """How much memory a worker may hold after a task before a fresh one takes its place.

    Kilobytes, resident and current. Default `None`: no limit. Manual 1.2.5."""

    cpu_affinity: int = setting(0, rules.whole(0, unit="processors"))
    """How many processors each worker may use; has an effect when less than the machine has.

    Processors. Default 0: all. Manual 1.2.33."""

    start_method: str = derived('"fork" on Linux, else "spawn"', rules.start_method())
    """How processes are started: `"fork"`, `"spawn"` or `"forkserver"`. The values of `Q_CLUSTER` must be picklable for
    the last two.

    Text. Default `"fork"` on Linux, `"spawn"` elsewhere. Ours."""

    # Time

    timeout: float | None = setting(None, rules.seconds(above=0, advice="Use None for no time limit."))
    """How long a task may run; a task's own `timeout` goes before it.

    Seconds, above 0. Default `None`: no limit. Manual 1.2.6."""

    import_timeout: float = setting(60.0, rules.seconds(above=0))
    """Maximum time to import the module of a task's function, which does not count against its `timeout`.

    Seconds, above 0. Default 60. Unpickling the arguments may take as long as `timeout`, at least 8 seconds and at
    most this. Ours."""

    guard_cycle: float = setting(0.5, rules.seconds(above=0, below=60))
    """How often the sentinel looks after its processes when nothing wakes it.

    Seconds, above 0 and below 60. Default 0.5. Manual 1.2.12."""

    guard_timeout: float = setting(60, rules.seconds(above=2))
    """Time without progress after which the sentinel replaces a process, such as one that waits for a hung server.

    A running task or hook is exempt: `timeout` ends it. Each process makes a step at least once a second.

    Seconds, above 2. Default 60. Ours."""

    stop_timeout: float = setting(25.0, rules.seconds())
    """How long running tasks may take to finish when the cluster stops.

    Seconds. Default 25, within the 30 that container platforms allow. Ours."""

    # Delivery

    retry: float = setting(60, rules.seconds(above=0))
    """How long a package is leased to a cluster before it is offered again.

    Seconds, above 0. Default 60. On brokers that renew leases, a task may run longer than this; on others it must be
    more than `timeout`. Manual 1.2.9."""

    max_attempts: int = setting(0, rules.whole(0, unit="attempts"))
    """How often a failing task is tried; 0: without end.

    Attempts. Default 0. Manual 1.2.8."""

    ack_failures: bool = setting(False, rules.flag())
    """Is a failed task acknowledged like a successful one, instead of being offered again?

    True or False. Default `False`. A task's own option is `ack_failure`. Manual 1.2.7."""

    bulk: int = setting(1, rules.whole(1, unit="packages"))
    """How many packages are asked of the broker at once, on brokers that support it.

    Packages. Default 1. Manual 1.2.27."""

    poll: float = setting(0.2, rules.seconds(above=0))
    """How often an empty queue is looked at, on brokers that cannot wait.

    Seconds, above 0. Default 0.2. Manual 1.2.28."""

    queue_limit: int = derived("workers ** 2", rules.whole(0, unit="tasks"))
    """How many tasks one cluster keeps in memory; not how many may wait in the broker.

    Tasks that take next to nothing are fetched ahead: what the workers finish in 10 ms, 256 tasks and 128 KiB at the
    most. Those that have not begun after 50 ms go back, if the broker is one that can take them back without a trace
    (Redis, the database, MongoDB).

    Tasks. Default: `workers` squared. 0 or an explicit `None`: no limit of yours, and 10,000 of ours. Manual 1.2.14."""

    compress: bool = setting(False, rules.flag())
    """Are packages compressed?

    True or False. Default `False`. Manual 1.2.10."""

    sync: bool = setting(False, rules.flag())
    """Do tasks run at once, in the process that sends them?

    True or False. Default `False`. Manual 1.2.13."""

    sync_raises: bool = setting(False, rules.flag())
    """Does a task that runs at once, in the process that sends it, raise there what it raised? It is saved anyway.

    True or False. Default `False`. Ours."""

    on_commit: bool = setting(False, rules.flag())
    """Are tasks sent when the current database transaction commits, and not at all when it rolls back?

    True or False. Default `False`. Ours."""

    # Results

    save_limit: int = setting(250, rules.whole(unit="tasks"))
    """How many successful tasks are kept in the database; 0: all; below 0: none. Failures are always kept.

    The scheduler process deletes those beyond the limit once a second, also with `scheduler: False`; the oldest 20,000
    at once if there are more. A success that is protected by a foreign key, or by a receiver that raises, is skipped.

    Tasks. Default 250. Manual 1.2.11."""

    save_limit_per: str | None = setting(None, rules.choice("group", "name", "func"))
    """Does `save_limit` hold for each `"group"`, each `"name"` or each `"func"`, and not for all tasks together?

    Text. Default `None`: all together. From django-q2."""

    cached: bool | float = setting(False, rules.flag_or_seconds())
    """Are results kept in the cache instead of the database; a number: for how long?

    True, False or seconds. Default `False`. Manual 1.2.30."""

    cache: str = setting("default", rules.text())
    """The cache that keeps results, and statistics of brokers that cannot.

    Alias in `CACHES`. Default `"default"`. Manual 1.2.29."""

    batch_timeout: float = setting(86_400, rules.seconds(above=0))
    """How long an iter may make no progress before it is completed without its missing members, which are lost.

    Seconds, above 0. Default 86,400: a day. Counted from when its members may run, or the last of them was heard of.
    Ours."""

    # Schedules

    scheduler: bool = setting(True, rules.flag())
    """Does this cluster run schedules?

    True or False. Default `True`. Manual 1.2.31."""

    catch_up: bool = setting(True, rules.flag())
    """Are slots that passed while no cluster ran made up for, one by one?

    True or False. Default `True`. Manual 1.2.16."""

    schedules: Sequence[Mapping[str, Any]] | None = setting(
        None, rules.mappings(advice="Write [{'func': 'myapp.tasks.report', 'cron': '0 22 * * *'}], for instance.")
    )
    """Schedules that the code owns: created, updated and removed when a cluster starts.

    List of dictionaries with `func` and what `schedule()` takes. Default `None`: none. Ours."""

    time_zone: str | None = setting(None, rules.time_zone())
    """The zone in which schedules are reckoned.

    IANA name. Default: Django's `TIME_ZONE`. Without `USE_TZ` it is always `None`. From django-q2."""

    has_replica: bool = setting(False, rules.flag())
    """Accepted for compatibility, without effect: whatever a cluster writes, or reads in order to write, it reads from
    the database that the router chooses for writing.

    True or False. Default `False`. Manual 1.2.23."""

    # Errors

    error_reporter: Mapping[str, Mapping[str, Any]] = dictionary(
        rules.mapping_of_mappings(advice="Give each reporter's name its keywords, as a dictionary.")
    )
    """Who is told about failing tasks: the name of each reporter, with its keywords.

    Dictionary of dictionaries. Default: nobody. Manual 1.2.32."""

    log_level: str | int = setting("INFO", rules.log_level())
    """The least level that is logged, when the project configures no logging for `django-q`.

    Name or number of a level. Default `"INFO"`. Undocumented in the public editions."""

    # Brokers, in the order in which they are chosen

    broker_class: str | type | None = setting(  # noqa: RUF009
        None, rules.class_or_path(advice="Write 'myapp.broker.CustomBroker', for instance.")
    )
    """A broker of your own.

    Dotted path, or the class itself. Default `None`. Manual 1.2.26."""

    disque_nodes: Sequence[str] | None = setting(None, rules.texts(advice="Split a text: os.environ[...].split(',')."))
    """Disque servers, of which one is chosen at random.

    List of `"host:port"`. Default `None`. Manual 1.2.19."""

    disque_auth: str | None = setting(None, rules.text(), secret=True)
    """The password of the Disque servers.

    Text. Default `None`. Manual 1.2.20."""

    disque_fastack: bool = setting(False, rules.flag())
    """Does Disque acknowledge by its faster, less certain way?

    True or False. Default `False`. From django-q, undocumented."""

    iron_mq: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the IronMQ client.

    Dictionary. Default `None`. Manual 1.2.21."""

    sqs: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the Amazon SQS session; an empty dictionary chooses SQS, configured as boto3 finds it.

    Dictionary. Default `None`. Manual 1.2.22."""

    orm: str | None = setting(None, rules.text(advice="Write the alias of a database, such as 'default'."))
    """The database that is the broker.

    Alias in `DATABASES`. Default `None`. Manual 1.2.23."""

    mongo: Mapping[str, Any] | None = setting(None, rules.mapping(advice=BROKER_ADVICE), secret=True)
    """Keywords of the MongoDB client.

    Dictionary. Default `None`. Manual 1.2.24."""

    mongo_db: str | None = setting(None, rules.text())
    """The MongoDB database that holds the queues.

    Text. Default `None`: the one in the address, else `django-q`. Manual 1.2.25."""

    django_redis: str | None = setting(None, rules.text(advice="Write the alias of a cache, such as 'default'."))
    """The django-redis cache whose connection is used for Redis.

    Alias in `CACHES`. Default `None`. Manual 1.2.18."""

    redis: Mapping[str, Any] | str = cast(
        "Mapping[str, Any] | str", dictionary(rules.mapping_or_text(advice=BROKER_ADVICE))
    )
    """Where Redis is: keywords of its client, or a URL.

    Dictionary or text. Default `{}`: this machine. Manual 1.2.17."""

    # What came with them

    others: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    """Keys that are not ours: those of third-party brokers, and slips of the pen."""

    explicit: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)
    """The keys that were given, whatever their value; only those that differ from the default when made by hand."""

    def __post_init__(self) -> None:
        """Fill in the defaults that are worked out, after looking for mistakes."""
        given = {name: own_copy(getattr(self, name)) for name in FIELDS}
        if mistakes := find_mistakes(given):
            raise ConfigurationError(describe(mistakes))
        values = {name: default_of(FIELDS[name]) if value is None else value for name, value in given.items()}
        chosen = {name for name, value in values.items() if value != default_of(FIELDS[name])}
        vars(self).update(with_derived_defaults(values), others=own_copy(self.others), explicit=self.explicit | chosen)

    def __hash__(self) -> int:
        """Settings are keys of dictionaries, such as one of connections."""
        return hash((self.name, self.cluster_name))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, cluster: str | None = None) -> Self:
        """The settings in a `Q_CLUSTER` dictionary, those of one of its `ALT_CLUSTERS` laid over them.

        A `cluster` that is not among the `ALT_CLUSTERS` is another queue with the same settings.
        """
        ours, others = sort_keys(with_alternative(mapping, cluster))
        explicit = frozenset(name for name, value in ours.items() if value is not None)
        if "queue_limit" in ours and ours["queue_limit"] is None:
            ours["queue_limit"] = 0
        return cls(**ours, others=others, explicit=explicit)

    @classmethod
    def from_django(cls, cluster: str | None = None) -> Self:
        """The settings as Django has them now; `cluster`, else `$Q_CLUSTER_NAME`, chooses among `ALT_CLUSTERS`.

        Asking again costs a few microseconds while nothing changed. A change is noticed when `Q_CLUSTER` is another
        dictionary, when one of its values is another object, and when the content of a dictionary or list in it no
        longer compares equal.
        """
        raw, zone = django_values()
        cluster = cluster or chosen_by_environment()
        known = _known.get((cls, cluster))
        if known is not None and known.still_holds(raw, zone):
            return cast("Self", known.settings)
        made = cls.from_mapping(django_mapping(cluster))
        if len(_known) > MAX_KNOWN_SETTINGS:
            _known.clear()
        _known[cls, cluster] = Known.of(raw, zone, made)
        return made

    @property
    def list_key(self) -> str:
        """The queue this cluster works on; a broker may put its own words around it."""
        return self.cluster_name

    @property
    def salt(self) -> str:
        """What signatures of packages are salted with: one for all clusters of a project."""
        return self.name

    @property
    def q_stat(self) -> str:
        """The key under which the project's clusters leave their statistics."""
        return f"django_q:{self.name}:cluster"

    @property
    def is_default_cluster(self) -> bool:
        """Is this the project's own queue? It runs the schedules that name no cluster."""
        return self.cluster_name == self.name

    def masked(self) -> dict[str, Any]:
        """The settings by key, as may be shown to people: what may hold a secret is only said to be set."""
        return {key_of(name): mask(FIELDS[name], getattr(self, name)) for name in FIELDS}


FIELDS: Final = {field.name: field for field in dataclasses.fields(ClusterSettings) if "rule" in field.metadata}
"""The fields that are keys of `Q_CLUSTER`, by name."""

KEYS: Final = {"ALT_CLUSTERS" if name == "alt_clusters" else name: name for name in FIELDS}
"""The field of each key of `Q_CLUSTER`."""

MAX_KNOWN_SETTINGS: Final = 64
"""How many clusters' settings are remembered."""


def key_of(name: str) -> str:
    """The key of `Q_CLUSTER` that a field is written as."""
    return next(key for key, field in KEYS.items() if field == name)


def mistakes_in(mapping: Mapping[str, Any], cluster: str | None = None) -> list[Mistake]:
    """What is wrong with a `Q_CLUSTER` dictionary, as one of its clusters sees it; keys that are not ours are right."""
    return find_mistakes(sort_keys(with_alternative(mapping, cluster))[0])


def find_mistakes(values: Mapping[str, Any]) -> list[Mistake]:
    """The fields whose value breaks their rule, and the name of a cluster that is one of a dead-letter queue."""
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
    """All mistakes in one message."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return "\n".join([f"Q_CLUSTER in the Django settings has {count}:", *(f"- {mistake}" for mistake in mistakes)])


def show(field: dataclasses.Field[Any], value: object) -> str:
    """A value as may be shown in a message: never a secret."""
    kind = f"of type {type(value).__name__}"
    return kind if field.metadata["secret"] else f"{reprlib.repr(value)} ({kind})"


def mask(field: dataclasses.Field[Any], value: object) -> object:
    """A value as may be shown in a list of settings: never a secret."""
    return "********" if value and field.metadata["secret"] else value


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field; None when it is worked out."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def with_alternative(mapping: Mapping[str, Any], cluster: str | None) -> Mapping[str, Any]:
    """A `Q_CLUSTER` dictionary as one of its clusters sees it."""
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
    """The `Q_CLUSTER` of the Django settings as one of its clusters sees it, in Django's time zone or its own."""
    raw, zone = django_values()
    mapping = with_alternative({} if raw is None else raw, cluster or chosen_by_environment())
    return {**mapping, "time_zone": (mapping.get("time_zone") or zone) if django_settings.USE_TZ else None}


def sort_keys(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of our fields, and those of keys that are not ours."""
    ours = {KEYS[key]: value for key, value in mapping.items() if key in KEYS}
    return ours, {key: value for key, value in mapping.items() if key not in KEYS}


def with_derived_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with the defaults that depend on others or on the machine."""
    workers = values["workers"] or os.cpu_count() or 4
    limit = values["queue_limit"]
    return {name: bool(value) if FIELDS[name].type == "bool" else value for name, value in values.items()} | {
        "workers": workers,
        "queue_limit": workers**2 if limit is None else limit or MAX_TASKS_IN_MEMORY,
        "cluster_name": values["cluster_name"] or values["name"],
        "start_method": values["start_method"] or ("fork" if sys.platform == "linux" else "spawn"),
    }


_known: dict[tuple[type, str | None], Known] = {}
