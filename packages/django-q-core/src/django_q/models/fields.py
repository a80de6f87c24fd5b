"""A column of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from picklefield.fields import PickledObject, PickledObjectField

from django_q.outcome import decode

if TYPE_CHECKING:
    from collections.abc import Sequence


class PickledField(PickledObjectField):
    """The column of django-picklefield, for what every edition of Django Q wrote into it.

    Migrations know it as its parent: in the database they are the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"null": True, "protocol": -1, "copy": False} | kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Hide behind the parent."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "picklefield.fields.PickledObjectField", args, kwargs

    def to_python(self, value: Any) -> Any:
        """Unpickle; text that cannot be unpickled is returned as it is, unless it is certain to be a pickle."""
        try:
            return decode(value)
        except (Exception, SystemExit):  # unpickling runs the constructors of whatever is inside
            if isinstance(value, PickledObject):
                raise
            return value
