"""A column of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models.query_utils import DeferredAttribute
from picklefield.fields import PickledObject, PickledObjectField

from django_q.wire.outcome import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model


class Encoded(PickledObject):
    """A pickled and encoded value of a column, which the attribute decodes when it is read."""


class DecodedAttribute(DeferredAttribute):
    """Decodes an `Encoded` value at the first reading: who only saves it runs no code of its classes."""

    def __get__(self, instance: Model | None, cls: type[Model] | None = None) -> Any:
        value = super().__get__(instance, cls)
        if instance is not None and type(value) is Encoded:
            value = instance.__dict__[self.field.attname] = decode(value)
        return value

    def __set__(self, instance: Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value  # without a setter, Python would not call `__get__`


class PickledField(PickledObjectField):
    """The column of django-picklefield, for what every edition of Django Q wrote into it.

    Migrations know it as its parent: in the database they are the same.
    """

    descriptor_class = DecodedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"null": True, "protocol": -1, "copy": False} | kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Hide behind the parent."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "picklefield.fields.PickledObjectField", args, kwargs

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        """Save an `Encoded` value as it is."""
        value = model_instance.__dict__.get(self.attname)
        return value if type(value) is Encoded else super().pre_save(model_instance, add)

    def to_python(self, value: Any) -> Any:
        """Unpickle; text that cannot be unpickled is returned as it is, unless it is certain to be a pickle."""
        try:
            return decode(value)
        except (Exception, SystemExit):  # unpickling runs the constructors of whatever is inside
            if isinstance(value, PickledObject):
                raise
            return value
