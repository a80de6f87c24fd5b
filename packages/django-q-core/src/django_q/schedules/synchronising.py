"""Schedules that the code declares → schedules in the database."""

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
"""Modules of apps in which `scheduled` is looked for."""


MAX_NAME: Final = 200
"""Maximum length of the name of an invalid entry, in the log."""


@dataclass
class Changes:
    """Schedules that were changed, by name, and those that could not be."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    broken: list[tuple[str, BaseException]] = field(default_factory=list)
    """Declarations that are invalid, and modules that cannot be imported."""
    modules: list[str] = field(default_factory=list)
    """Those of them that are modules."""


def synchronise(settings: ClusterSettings) -> Changes:
    """Create, update and remove the schedules that the code declares for this cluster.

    What operators do with them stays: one that is paused (`repeats` 0) is not woken, and its next run only changes
    with its dates. A schedule that somebody made by hand under a declared name is the code's from now on.
    """
    changes = Changes()
    discover(changes)
    declared = {each.name: each for each in declarations(settings, changes)}
    for declaration in declared.values():
        try:
            put_right(declaration, changes)
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
    """Delete a schedule that is not declared any more."""
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
    """Find the declarations that cannot become schedules, without asking the database."""
    changes = Changes()
    for declaration in declarations(settings, changes):
        try:
            draft = Schedule(name=declaration.name, **declaration.columns(), **declaration.repeats)
            draft.clean_fields()
            draft.name = None  # or `clean` would look for others of that name
            draft.clean()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - arguments are objects of the project
            changes.broken.append((declaration.name, error))
    return changes.broken


def discover(changes: Changes) -> None:
    """Import the modules in which `scheduled` may be."""
    for module in modules():
        try:
            import_module(module)
        except BaseException as error:  # noqa: BLE001 - a module may do anything when it is imported
            changes.modules.append(module)
            changes.broken.append((module, error))


def is_known_to_be_gone(schedule: Schedule, changes: Changes) -> bool:
    """Return True if no module that cannot be imported may declare a schedule.

    While there are such modules, only schedules of functions of other apps are known to be gone, because it is not
    recorded which module declared a schedule.
    """
    if not changes.modules:
        return True
    broken = {module.rpartition(".")[0] for module in changes.modules}
    app = app_of(schedule.func)
    return app is not None and app not in broken


def app_of(func: str) -> str | None:
    """Return the name of the app in which a function is; None if it is in none."""
    names = [config.name for config in apps.get_app_configs() if func.startswith(f"{config.name}.")]
    return max(names, key=len, default=None)


def modules() -> tuple[str, ...]:
    """The modules of that name that the apps have: looked for once, so that forks know."""
    return _modules_of(tuple(apps.get_app_configs()))


@lru_cache(maxsize=1)
def _modules_of(configs: tuple[AppConfig, ...]) -> tuple[str, ...]:
    pairs = ((config, name) for config in configs for name in MODULES)
    return tuple(f"{config.name}.{name}" for config, name in pairs if module_has_submodule(config.module, name))


def declarations(settings: ClusterSettings, changes: Changes) -> Iterable[Declaration]:
    """What the code and the settings declare for this cluster; the settings win."""
    found = dict(DECLARED)
    for entry in settings.schedules or ():
        try:
            declaration = Declaration.from_mapping(entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - entries are whatever the settings hold
            changes.broken.append((name_of(entry), error))
        else:
            found[declaration.name] = declaration
    mine = {None, "", settings.list_key} if settings.is_default_cluster else {settings.list_key}
    return [each for each in found.values() if each.cluster in mine]


def name_of(entry: object) -> str:
    """Return a name for an invalid entry of the setting `schedules`."""
    try:
        said = entry.get("name") or entry.get("func") if isinstance(entry, Mapping) else entry
    except (Exception, SystemExit):  # noqa: BLE001 - the values are whatever the settings hold
        return "unreadable"
    return text_of(said, MAX_NAME)


def put_right(declaration: Declaration, changes: Changes) -> None:
    """Let the schedule of that name be what the code says."""
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
    """The schedule of that name: the oldest, if there are several."""
    return Schedule.objects.using(router.db_for_write(Schedule)).filter(name=name).order_by("pk").first()


def differences(schedule: Schedule, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that are not what they should be."""
    return {name: value for name, value in columns.items() if getattr(schedule, name) != value}


def update(schedule: Schedule, different: Mapping[str, Any]) -> None:
    """Change a schedule; its next run only if it has another cron expression."""
    for name, value in different.items():
        setattr(schedule, name, value)
    schedule.full_clean(validate_unique=False)  # which would ask a replica; `clean` asks for the name
    fields = {*different, "last_error", "retry_at"}
    if schedule.schedule_type == Schedule.CRON and different.keys() & {"cron", "schedule_type"}:
        if first := schedule.recurrence().first(now()):
            schedule.move_to(first)
        fields |= {"next_run", "wall"}
    schedule.last_error = schedule.retry_at = None
    schedule.save(update_fields=fields)


def owned(settings: ClusterSettings) -> Iterable[Schedule]:
    """Schedules of this cluster that are the code's."""
    return Schedule.objects.using(router.db_for_write(Schedule)).filter(of_cluster(settings), in_code=True)
