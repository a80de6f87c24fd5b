"""Database field for pickled values of any class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models.query_utils import DeferredAttribute
from picklefield.fields import PickledObject, PickledObjectField

from django_q.wire.outcome import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model


class Encoded(PickledObject):
    """Pickled and encoded value of a column. The attribute decodes it when it is read."""


class DecodedAttribute(DeferredAttribute):
    """Decodes an `Encoded` value when it is first read, so that a process that only saves it does not unpickle it."""

    def __get__(self, instance: Model | None, cls: type[Model] | None = None) -> Any:
        value = super().__get__(instance, cls)
        if instance is not None and type(value) is Encoded:
            value = instance.__dict__[self.field.attname] = decode(value)
        return value

    def __set__(self, instance: Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value  # without `__set__`, Python would not call `__get__`


class PickledField(PickledObjectField):
    """Field of django-picklefield that reads values of all editions of Django Q.

    Migrations contain its parent class, whose column is the same.
    """

    descriptor_class = DecodedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"null": True, "protocol": -1, "copy": False} | kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Return the parent class for migrations."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "picklefield.fields.PickledObjectField", args, kwargs

    def pre_save(self, model_instance: Model, add: bool) -> Any:
        """Save an `Encoded` value unchanged."""
        value = model_instance.__dict__.get(self.attname)
        return value if type(value) is Encoded else super().pre_save(model_instance, add)

    def to_python(self, value: Any) -> Any:
        """Unpickle a value. A text that cannot be unpickled, and need not be a pickle, is returned unchanged."""
        try:
            return decode(value)
        except (Exception, SystemExit):  # unpickling runs constructors of the project
            if isinstance(value, PickledObject):
                raise
            return value
