"""Filters of the lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from django_q.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin.views.main import ChangeList
    from django.http import HttpRequest


def other_parameters(request: HttpRequest, *own: str) -> list[tuple[str, str]]:
    """Return the parameters of a list that a filter keeps: not its own, the page, and the mark of an error."""
    ignored = {*own, "p", "e"}
    return [(key, value) for key, values in request.GET.lists() for value in values if key not in ignored]


class TextFilter(admin.FieldListFilter):
    """Filter with a field for the exact value of a column. It does not read which values there are."""

    template = "admin/django_q/text_filter.html"

    def __init__(self, field: Any, request: HttpRequest, params: Any, *args: Any, **kwargs: Any) -> None:
        self.parameter = kwargs.get("field_path") or args[-1]
        super().__init__(field, request, params, *args, **kwargs)
        given: Any = self.used_parameters.get(self.parameter, [])
        values = [storable(value) for value in given]
        if values:
            self.used_parameters[self.parameter] = values
        self.value = values[-1] if values else ""
        self.others = other_parameters(request, self.parameter)

    def expected_parameters(self) -> list[str | None]:
        """Return the name of the column."""
        return [self.parameter]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield the values of the template."""
        yield {
            "query_string": changelist.get_query_string(remove=[self.parameter]),
            "parameter": self.parameter,
            "value": self.value,
            "others": self.others,
        }


class DropdownFilter(admin.ChoicesFieldListFilter):
    """Filter of a column with choices, as a drop-down with a button. It works without JavaScript."""

    template = "admin/django_q/dropdown_filter.html"

    def __init__(self, field: Any, request: HttpRequest, params: Any, *args: Any, **kwargs: Any) -> None:
        exact = f"{kwargs.get('field_path') or args[-1]}__exact"
        if not any(params.get(exact, [])):  # the choice "All"
            params.pop(exact, None)
        super().__init__(field, request, params, *args, **kwargs)
        self.field_choices = [(str(value), label) for value, label in field.flatchoices]
        self.others = other_parameters(request, self.lookup_kwarg, self.lookup_kwarg_isnull)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield the values of the template."""
        chosen = self.lookup_val[-1] if self.lookup_val else ""
        yield {
            "parameter": self.lookup_kwarg,
            "others": self.others,
            "options": [(value, label, value == chosen) for value, label in self.field_choices],
        }
