"""Form of a schedule. It validates everything that a cluster will execute."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_q.arguments import read_kwargs
from django_q.exceptions import DjangoQError, ScheduleError
from django_q.models import Schedule
from django_q.schedules.due import names_a_queue, unknown_function
from django_q.wire.options import SCHEDULE_OPTIONS, normalised, validated
from django_q.wire.package import TASK_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

PREVIEW = "_preview"
"""Name of the button that shows the next runs, and saves nothing."""


class ScheduleForm(forms.ModelForm):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Form of a schedule. An empty next run is replaced by the first slot."""

    class Meta:
        model = Schedule
        fields = "__all__"  # noqa: DJ007 - columns of the scheduler are not editable

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("next_run", "repeats"):  # otherwise a write of the scheduler meanwhile would look like a change
            if name in self.fields:
                self.fields[name].show_hidden_initial = True
        if "next_run" not in self.fields:
            return
        self.fields["next_run"].required = False
        self.fields["next_run"].help_text = _("Empty: at once, or the first moment that the cron expression names.")
        if self.instance.pk is None:
            self.fields["next_run"].initial = None
            self.initial.pop("next_run", None)

    def is_valid(self) -> bool:
        """Return True if the form is to be saved: it has no errors, and is no preview."""
        return super().is_valid() and PREVIEW not in self.data

    def clean(self) -> dict[str, Any] | None:
        """Validate functions and options, and set an empty next run to the first slot."""
        cleaned = super().clean() or self.cleaned_data
        self._check_functions(cleaned)
        self._check_options(cleaned)
        if "next_run" in self.fields and cleaned.get("next_run") is None and not self.errors:
            draft = Schedule(**{name: cleaned.get(name) for name in ("schedule_type", "minutes", "cron")})
            with suppress(ScheduleError):  # the model reports it, too
                first = draft.recurrence().first(timezone.now())
                cleaned["next_run"] = first.moment if first else None
        return cleaned

    def _check_functions(self, cleaned: dict[str, Any]) -> None:
        """Import the function and the hook, unless another cluster executes them, whose code may be missing here."""
        if cleaned.get("cluster") or names_a_queue(None, cleaned.get("kwargs")):
            return
        for field in ("func", "hook"):
            path = cleaned.get(field)
            if path and (error := unknown_function(path)):
                self.add_error(field, str(error))

    def _check_options(self, cleaned: dict[str, Any]) -> None:
        """Validate the cluster, and each option in the keyword arguments."""
        if cleaned.get("cluster"):
            try:
                normalised("cluster", cleaned["cluster"])
            except DjangoQError as error:
                self.add_error("cluster", str(error))
        if cleaned.get("kwargs"):
            with suppress(DjangoQError):  # the model reports texts that cannot be read
                found = [ValidationError(each) for each in option_errors(read_kwargs(cleaned["kwargs"]))]
                if found:
                    self.add_error("kwargs", ValidationError(found))


def option_errors(kwargs: dict[str, Any]) -> Iterator[str]:
    """Yield a message for each option in the keywords of a schedule that does not exist or is invalid."""
    given = kwargs.get("q_options")
    try:
        normalised("q_options", given)
    except DjangoQError as error:
        yield str(error)
        given = None
    options = {name: value for name, value in kwargs.items() if name in TASK_OPTIONS} | dict(given or {})
    for name, value in options.items():
        try:
            validated({name: value}, SCHEDULE_OPTIONS)
        except DjangoQError as error:
            yield str(error)
        else:
            if name in ("callback", "hook") and isinstance(value, str) and (unknown := unknown_function(value)):
                yield str(unknown)
