"""Schedules that code declares, with the decorator `scheduled`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from django.utils.functional import Promise

from django_q.arguments import write_args, write_kwargs
from django_q.exceptions import ScheduleError
from django_q.models import Schedule
from django_q.schedules.creating import path_of
from django_q.schedules.field_checks import checked_field, checked_fields
from django_q.text import one_line
from django_q.wire.options import normalise_keywords

F = TypeVar("F", bound=Callable[..., Any])


FIELDS: Final = (
    "hook",
    "schedule_type",
    "minutes",
    "cron",
    "repeats",
    "cluster",
    "intended_date_kwarg",
    "catch_up",
    "overlap",
)
"""What a declaration may say besides its name, its function and what that is given."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """A schedule as the code declares it."""

    name: str
    func: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of `FIELDS`, those that were given."""

    @classmethod
    def of(cls, func: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], said: Mapping[str, Any]) -> Self:
        """Sort what was said; the type follows from `cron` or `minutes`.

        Raises:
            OptionError: a value has a wrong type.
            ScheduleError: nothing says when, or a word is not known.
        """
        said = checked_fields(said)
        fields = {key: value for key, value in said.items() if key != "name" and value is not None}
        if unknown := fields.keys() - set(FIELDS):
            raise ScheduleError(f"A schedule has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS)}.")
        if "schedule_type" not in fields:
            fields["schedule_type"] = type_of(fields)
        return cls(name=said.get("name") or func, func=func, args=tuple(args), kwargs=kwargs, fields=fields)

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> Self:
        """Read one entry of the `schedules` setting.

        Raises:
            ScheduleError: it is not a declaration; the message says what is expected.
        """
        if not isinstance(entry, Mapping):
            raise ScheduleError(f"{in_short(entry)} is not a schedule: write a dictionary with 'func'.")
        said = dict(entry)
        func, args, kwargs = said.pop("func", ""), said.pop("args", None), said.pop("kwargs", None)
        if not func:
            raise ScheduleError(f"An entry of Q_CLUSTER['schedules'] has no 'func': {in_short(entry)}.")
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, (list, tuple)):
            raise ScheduleError(f"args is {in_short(args)}: write a list or tuple, such as ({in_short(args)},).")
        if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
            raise ScheduleError(f"kwargs is {in_short(kwargs)}: write a dictionary with text keys.")
        kwargs = dict(kwargs)
        if "q_options" in said:
            kwargs["q_options"] = said.pop("q_options")
        if not isinstance(kwargs.get("q_options") or {}, Mapping):
            raise ScheduleError(f"q_options is {in_short(kwargs['q_options'])}: write a dictionary.")
        if not isinstance(said.get("name") or "", (str, Promise)):
            raise ScheduleError(f"name is {in_short(said['name'])}: write a text.")
        return cls.of(path_of(func), tuple(args), kwargs, {str(key): value for key, value in said.items()})

    @property
    def cluster(self) -> str | None:
        """The cluster it is for; None: the default one."""
        return self.fields.get("cluster")

    @property
    def repeats(self) -> dict[str, Any]:
        """Declared `repeats`, which holds when the schedule is created and counts down then."""
        return {key: value for key, value in self.fields.items() if key == "repeats"}

    def columns(self) -> dict[str, Any]:
        """What it says of a schedule's columns, but for `repeats`, which counts down."""
        given: dict[str, Any] = dict.fromkeys(FIELDS) | {"overlap": True} | dict(self.fields)
        given.pop("repeats")
        return given | {
            "func": self.func,
            "args": write_args(self.args) if self.args else None,
            "kwargs": write_kwargs(self.kwargs) if self.kwargs else None,
        }


DECLARED: Final[dict[str, Declaration]] = {}
"""What `scheduled` has declared in this process, by name."""


def scheduled(
    *args: Any,
    name: str | None = None,
    hook: str | None = None,
    schedule_type: str | None = None,
    minutes: int | None = None,
    repeats: int | None = None,
    cron: str | None = None,
    cluster: str | None = None,
    intended_date_kwarg: str | None = None,
    catch_up: bool | None = None,
    overlap: bool | None = None,
    **kwargs: Any,
) -> Callable[[F], F]:
    """Declare a schedule of the function below; a cluster creates or updates it when it starts.

    Takes what `schedule` takes. The name is by default the dotted path of the function; `cron` or `minutes` say the
    type. The function must be in a module that is imported then: a `tasks` or `schedules` of an installed app.
    """
    hook = checked_field("hook", hook)
    said = {
        "name": name,
        "hook": path_of(hook) if hook else None,
        "schedule_type": schedule_type,
        "minutes": minutes,
        "repeats": repeats,
        "cron": cron,
        "cluster": cluster,
        "intended_date_kwarg": intended_date_kwarg,
        "catch_up": catch_up,
        "overlap": overlap,
    }

    def declare(func: F) -> F:
        new = Declaration.of(path_of(func), args, normalise_keywords(kwargs), said)
        known = DECLARED.get(new.name)
        if known is not None and known.func != new.func:
            raise ScheduleError(f"{new.func} and {known.func} both declare a schedule {new.name!r}: rename one.")
        DECLARED[new.name] = new
        return func

    return declare


def type_of(fields: Mapping[str, Any]) -> str:
    """The type that the other fields mean."""
    if fields.get("cron"):
        return Schedule.CRON
    if fields.get("minutes"):
        return Schedule.MINUTES
    raise ScheduleError("Say when: cron='0 22 * * *', minutes=5, or schedule_type=Schedule.DAILY.")


def in_short(value: object) -> str:
    """Return the representation of any object as a short line."""
    try:
        return one_line(repr(value), 80)
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return one_line(value, 80)
