"""Synchronises the schedules in the database with those that code declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db import IntegrityError, router
from django.utils.module_loading import module_has_submodule

from django_q.clock import now
from django_q.databases.errors import is_unavailable
from django_q.models import Schedule
from django_q.schedules.creating import create
from django_q.schedules.declarations import DECLARED, Declaration
from django_q.schedules.ownership import of_cluster
from django_q.schedules.polling import is_in_code
from django_q.text import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.apps import AppConfig

    from django_q.settings import ClusterSettings

MODULES: Final = ("tasks", "schedules")
"""Names of modules of apps that are imported, because they may use `scheduled`."""

OWN_APP: Final = "django_q"
"""Name of the app that declares no schedules: to import its `tasks` would take 2.5 MB of the scheduler's memory."""

MAX_NAME_CHARACTERS: Final = 200
"""Maximum length of the name of an invalid entry in the log."""


@dataclass
class Changes:
    """Names of changed schedules, and errors."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    broken: list[tuple[str, BaseException]] = field(default_factory=list)
    """Names and errors of invalid declarations, and of modules that cannot be imported."""
    modules: list[str] = field(default_factory=list)
    """Names in `broken` that are modules."""


def synchronise(settings: ClusterSettings) -> Changes:
    """Create, update and delete the schedules that code declares for this cluster.

    Changes by operators stay: a paused schedule (`repeats` is 0) is not resumed, and `next_run` changes only with the
    cron expression. A schedule that was created by hand, under a declared name, becomes a declared one.

    Raises:
        django.db.DatabaseError: `is_unavailable`: try again later.
    """
    changes = Changes()
    discover(changes)
    declared = {each.name: each for each in declarations(settings, changes)}
    for declaration in declared.values():
        try:
            apply(declaration, changes)
        except (Exception, SystemExit) as error:
            if is_unavailable(error):
                raise
            changes.broken.append((declaration.name, error))
    kept = {*declared, *(name for name, _ in changes.broken)}
    anything = declared or is_in_code(settings, router.db_for_write(Schedule))
    for schedule in owned(settings) if anything else ():
        if schedule.name not in kept and is_known_to_be_gone(schedule, changes):
            remove(schedule, changes)
    return changes


def remove(schedule: Schedule, changes: Changes) -> None:
    """Delete a schedule that is no longer declared."""
    name = schedule.name or str(schedule.pk)
    try:
        schedule.delete()
    except (Exception, SystemExit) as error:
        if is_unavailable(error):
            raise
        changes.broken.append((name, error))
    else:
        changes.removed.append(name)


def invalid(settings: ClusterSettings) -> list[tuple[str, BaseException]]:
    """Return the names and errors of invalid declarations, without use of the database."""
    changes = Changes()
    for declaration in declarations(settings, changes):
        try:
            draft = Schedule(name=declaration.name, **declaration.columns(), **declaration.repeats)
            draft.clean_fields()
            draft.name = None  # otherwise `clean` would look for other schedules of that name
            draft.clean()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - arguments are objects of the project
            changes.broken.append((declaration.name, error))
    return changes.broken


def discover(changes: Changes) -> None:
    """Import the modules that may use `scheduled`."""
    for module in modules():
        try:
            import_module(module)
        except BaseException as error:  # noqa: BLE001 - an import runs code of the project
            changes.modules.append(module)
            changes.broken.append((module, error))


def is_known_to_be_gone(schedule: Schedule, changes: Changes) -> bool:
    """Return True if it is certain that no code declares a schedule.

    A module that cannot be imported may declare it. While there are such modules, only schedules for functions of other
    apps are certain, because the module of a declaration is not recorded.
    """
    if not changes.modules:
        return True
    broken = {module.rpartition(".")[0] for module in changes.modules}
    app = app_of(schedule.func)
    return app is not None and app not in broken


def app_of(func: str) -> str | None:
    """Return the name of the app of a function; None if it belongs to none."""
    names = [config.name for config in apps.get_app_configs() if func.startswith(f"{config.name}.")]
    return max(names, key=len, default=None)


def modules() -> tuple[str, ...]:
    """Return the modules of the apps that may use `scheduled`. They are cached, so that forks inherit them."""
    return _modules_of(tuple(apps.get_app_configs()))


@lru_cache(maxsize=1)
def _modules_of(configs: tuple[AppConfig, ...]) -> tuple[str, ...]:
    pairs = ((config, name) for config in configs if config.name != OWN_APP for name in MODULES)
    return tuple(f"{config.name}.{name}" for config, name in pairs if module_has_submodule(config.module, name))


def declarations(settings: ClusterSettings, changes: Changes) -> Iterable[Declaration]:
    """Return the declarations of code and settings for this cluster. Settings take precedence."""
    found = dict(DECLARED)
    for entry in settings.schedules or ():
        try:
            declaration = Declaration.from_mapping(entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - entries are any objects
            changes.broken.append((name_of(entry), error))
        else:
            found[declaration.name] = declaration
    mine = {None, "", settings.list_key} if settings.is_default_cluster else {settings.list_key}
    return [each for each in found.values() if each.cluster in mine]


def name_of(entry: object) -> str:
    """Return a name for an invalid entry of the setting `schedules`."""
    try:
        name = entry.get("name") or entry.get("func") if isinstance(entry, Mapping) else entry
    except (Exception, SystemExit):  # noqa: BLE001 - entries are any objects
        return "unreadable"
    return text_of(name, MAX_NAME_CHARACTERS)


def apply(declaration: Declaration, changes: Changes) -> None:
    """Create or update the schedule of a declaration."""
    columns = declaration.columns()
    if find(declaration.name) is None:
        try:
            create(Schedule(name=declaration.name, in_code=True, **columns, **declaration.repeats))
        except IntegrityError:
            if find(declaration.name) is None:
                raise
        else:
            changes.created.append(declaration.name)
            return
    schedule = find(declaration.name)
    if schedule is not None and (different := differences(schedule, columns | {"in_code": True})):
        update(schedule, different)
        changes.updated.append(declaration.name)


def find(name: str) -> Schedule | None:
    """Return the schedule with a name, or the oldest of several."""
    return Schedule.objects.using(router.db_for_write(Schedule)).filter(name=name).order_by("pk").first()


def differences(schedule: Schedule, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that differ from those of a schedule."""
    return {name: value for name, value in columns.items() if getattr(schedule, name) != value}


def update(schedule: Schedule, different: Mapping[str, Any]) -> None:
    """Update a schedule. `next_run` is changed only with the cron expression."""
    for name, value in different.items():
        setattr(schedule, name, value)
    schedule.full_clean(validate_unique=False)  # it would read from a replica; `clean` checks the name
    fields = {*different, "last_error", "retry_at"}
    if schedule.schedule_type == Schedule.CRON and different.keys() & {"cron", "schedule_type"}:
        if first := schedule.recurrence().first(now()):
            schedule.move_to(first)
        fields |= {"next_run", "wall"}
    schedule.last_error = schedule.retry_at = None
    schedule.save(update_fields=fields)


def owned(settings: ClusterSettings) -> Iterable[Schedule]:
    """Return the schedules of this cluster that code declares."""
    return Schedule.objects.using(router.db_for_write(Schedule)).filter(of_cluster(settings), in_code=True)
