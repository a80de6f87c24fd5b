"""Lists the configuration of a cluster without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django_q.__about__ import __version__
from django_q.brokers import broker_class
from django_q.settings.fields import MASK

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

PLAIN_TYPES: Final = (str, int, float, bool)


def configuration(settings: ClusterSettings) -> dict[str, Any]:
    """Return the version, the class of the broker, and all settings that have a value, by key.

    Asterisks replace values that may contain a secret: dictionaries, passwords, and settings that Django Q does not
    know.

    Raises:
        ConfigurationError: there is no such broker.
    """
    values = {"version": __version__, "broker": class_path(broker_class(settings))} | settings.masked()
    values |= dict.fromkeys(settings.others, MASK)
    return {name: shown(value) for name, value in values.items() if value not in (None, {}, [], ())}


def shown(value: Any) -> Any:
    """Return a value for JSON and for a line of text."""
    if isinstance(value, PLAIN_TYPES):
        return value
    if isinstance(value, type):
        return class_path(value)
    return [shown(each) for each in value] if isinstance(value, (list, tuple)) else str(value)


def class_path(value: type) -> str:
    """Return the dotted path of a class."""
    return f"{value.__module__}.{value.__qualname__}"
