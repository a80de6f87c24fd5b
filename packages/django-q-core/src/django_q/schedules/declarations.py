"""Declares schedules in code, with the decorator `scheduled`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from django.utils.functional import Promise

from django_q.arguments import write_args, write_kwargs
from django_q.exceptions import ScheduleError
from django_q.schedules.creating import implied_type, path_of
from django_q.schedules.field_checks import checked_field, checked_fields
from django_q.wire.option_values import shown
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
"""Options of a declaration, in addition to its name, its function and the arguments of the function."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Schedule that code or the setting `schedules` declares."""

    name: str
    func: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Those of `FIELDS` that are given."""

    @classmethod
    def of(cls, func: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Self:
        """Create a declaration. Its type follows from `cron` or `minutes`, if it is not given.

        Raises:
            OptionError: a value has a wrong type.
            ScheduleError: the type is missing, or an option is unknown.
        """
        options = checked_fields(options)
        fields = {key: value for key, value in options.items() if key != "name" and value is not None}
        if unknown := fields.keys() - set(FIELDS):
            names = ", ".join(sorted(unknown))
            raise ScheduleError(f"Unknown options of a schedule: {names}. Choose from {', '.join(FIELDS)}.")
        if "schedule_type" not in fields:
            fields["schedule_type"] = type_of(fields)
        return cls(name=options.get("name") or func, func=func, args=tuple(args), kwargs=kwargs, fields=fields)

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the setting `schedules`.

        Raises:
            OptionError: an option of its tasks does not exist or is invalid, or a value has a wrong type.
            ScheduleError: the entry is not a declaration; the message contains the expected form.
        """
        if not isinstance(entry, Mapping):
            raise ScheduleError(f"{shown(entry)} is not a schedule: write a dictionary with 'func'.")
        options = dict(entry)
        func, args, kwargs = options.pop("func", ""), options.pop("args", None), options.pop("kwargs", None)
        if not func:
            raise ScheduleError(f"An entry of Q_CLUSTER['schedules'] has no 'func': {shown(entry)}.")
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, (list, tuple)):
            raise ScheduleError(f"args is {shown(args)}: write a list or tuple, such as ({shown(args)},).")
        if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
            raise ScheduleError(f"kwargs is {shown(kwargs)}: write a dictionary with text keys.")
        kwargs = dict(kwargs)
        if "q_options" in options:
            kwargs["q_options"] = options.pop("q_options")
        if not isinstance(kwargs.get("q_options") or {}, Mapping):
            raise ScheduleError(f"q_options is {shown(kwargs['q_options'])}: write a dictionary.")
        if not isinstance(options.get("name") or "", (str, Promise)):
            raise ScheduleError(f"name is {shown(options['name'])}: write a text.")
        kwargs = normalise_keywords(kwargs)
        return cls.of(path_of(func), tuple(args), kwargs, {str(key): value for key, value in options.items()})

    @property
    def cluster(self) -> str | None:
        """Name of the only cluster that executes its tasks; None means the default one."""
        return self.fields.get("cluster")

    @property
    def repeats(self) -> dict[str, Any]:
        """The field `repeats`, if it is given. It is used when the schedule is created, and counts down afterwards."""
        return {key: value for key, value in self.fields.items() if key == "repeats"}

    def columns(self) -> dict[str, Any]:
        """Return the columns of the schedule, except `repeats`, which counts down."""
        given: dict[str, Any] = dict.fromkeys(FIELDS) | {"overlap": True} | dict(self.fields)
        given.pop("repeats")
        return given | {
            "func": self.func,
            "args": write_args(self.args) if self.args else None,
            "kwargs": write_kwargs(self.kwargs) if self.kwargs else None,
        }


DECLARED: Final[dict[str, Declaration]] = {}
"""Declarations by `scheduled` in this process, by name."""


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
    """Declare a schedule for the decorated function. A cluster creates or updates it when it starts.

    The arguments are those of `schedule`. The default name is the dotted path of the function, and `cron` or `minutes`
    determine the type. The function must be in a module that clusters import: `tasks` or `schedules` of an installed
    app.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        OptionError: a value has a wrong type.
        ScheduleError: the type is missing, an option is unknown, or another function declares this name.
    """
    hook = checked_field("hook", hook)
    options = {
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
        new = Declaration.of(path_of(func), args, normalise_keywords(kwargs), options)
        known = DECLARED.get(new.name)
        if known is not None and known.func != new.func:
            raise ScheduleError(f"{new.func} and {known.func} both declare a schedule {new.name!r}: rename one.")
        DECLARED[new.name] = new
        return func

    return declare


def type_of(fields: Mapping[str, Any]) -> str:
    """Return the type that follows from the other fields.

    Raises:
        ScheduleError: `cron` and `minutes` are missing, or both are given.
    """
    if implied := implied_type(fields):
        return implied
    raise ScheduleError("The time is missing: set cron='0 22 * * *', minutes=5, or schedule_type=Schedule.DAILY.")
