"""Base classes of the pages: unavailable servers become messages, and rows are read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, router, transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst, slugify
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_q.admin.pagination import BoundedPaginator
from django_q.admin.values import MAX_SHOWN_CHARACTERS, beginning, breakable, monospaced, notation
from django_q.exceptions import BrokerUnavailable, ResultsUnavailable
from django_q.text import one_line, sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.contrib.admin import ModelAdmin
    from django.db.models import Model
    from django.http import HttpRequest

UNAVAILABLE = (BrokerUnavailable, InterfaceError, OperationalError, ResultsUnavailable)
"""Errors of a server that cannot answer now."""

MAX_SENTENCE_CHARACTERS = 500
"""Maximum length of an error in a message."""


def tell(model_admin: ModelAdmin[Any], request: HttpRequest, sentence: Any, error: BaseException) -> None:
    """Show an error to the user.

    Args:
        model_admin: the page.
        request: the request of the user.
        sentence: message with one `%s` for the error.
        error: the error.
    """
    reason = one_line(sentence_of(error), MAX_SENTENCE_CHARACTERS)
    model_admin.message_user(request, sentence % reason, messages.ERROR)


def log_and_change(
    model_admin: ModelAdmin[Any], request: HttpRequest, obj: Model, message: Any, change: Callable[[], bool]
) -> bool:
    """Write an entry in the admin's log and make a change, or neither.

    The entry comes first: on SQLite, a transaction that has read cannot wait for the lock to write.

    Args:
        model_admin: the page.
        request: the request of the user.
        obj: the object of the entry.
        message: text of the entry.
        change: makes the change. It returns False, or raises an error, if nothing was changed.

    Returns:
        What *change* returns.
    """
    using = router.db_for_write(LogEntry)
    with transaction.atomic(using=using):
        model_admin.log_change(request, obj, message)
        is_changed = change()
        transaction.set_rollback(not is_changed, using=using)
    return is_changed


def quoted(value: object) -> str:
    """Return the text of an object for a sentence in which `%s` is replaced afterwards."""
    return one_line(value).replace("%", "%%")


class WholePage(ChangeList):
    """List that has read its rows before the response is rendered, so that an error becomes a message."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        page: Any = self.model_admin
        page.complete(self.result_list)


class Page(admin.ModelAdmin):  # pyrefly: ignore[implicit-any-type-argument] - Django's takes none
    """Page of one model, for any number of rows. If a server is unavailable, it shows a message."""

    change_form_template = "admin/django_q/buttons_form.html"
    list_per_page = 50
    paginator = BoundedPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    unavailable: ClassVar[tuple[type[Exception], ...]] = UNAVAILABLE
    """Errors that become a message."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return WholePage

    def complete(self, rows: Sequence[Any]) -> None:
        """Add values of other tables to the rows of one page. The default adds none."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Return the list, or the result of an action."""
        return self.guarded(request, lambda: super(Page, self).changelist_view(request, extra_context))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return the page of a row, or the result of its form."""
        return self.guarded(request, lambda: self.row_view(request, object_id, form_url, extra_context))

    def row_view(
        self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: dict[str, Any] | None
    ) -> HttpResponse:
        """Return the page of a row, or the result of its form, if all servers answer."""
        return super().changeform_view(request, object_id, form_url, extra_context)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field of a form. Both inputs of a date with a time have names for screen readers."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(widget := getattr(field, "widget", None), AdminSplitDateTime):
            for part, name in zip(widget.widgets, (gettext("Date:"), gettext("Time:")), strict=True):
                part.attrs["aria-label"] = f"{capfirst(db_field.verbose_name)}, {name.rstrip(':')}"
        return field

    @admin.display(description=_("function"), ordering="func")
    def function(self, obj: Any) -> str:
        """Return the dotted path, which may be wrapped after each dot."""
        return breakable(obj.func)

    def guarded(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the response of a view; a message on the index of the admin if a server is unavailable."""
        try:
            return view()
        except self.unavailable as error:
            tell(self, request, _("The page cannot be shown now: %s"), error)
            return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def address(self, view: str, *args: Any, **query: object) -> str:
        """Return the address of a view of this model, with a query string."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=args, current_app=self.admin_site.name, query=query or None)


class ReadOnlyList(WholePage):
    """List whose rows can be viewed only, whatever the permissions of the user are."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        if not self.is_popup:
            self.title = gettext("Select %s to view") % self.opts.verbose_name


class ReadOnlyPage(Page):
    """Page of rows that only clusters write. Its buttons are actions for one row."""

    downloads: ClassVar[Sequence[str]] = ()
    """Attributes with values of any class, which can be downloaded."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False: only clusters create rows."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return ReadOnlyList

    def buttons(self, request: HttpRequest, obj: Any) -> dict[str, tuple[Any, Callable[[], None]]]:
        """Return the buttons of a row that the user may press.

        Args:
            request: the request of the user.
            obj: the row.

        Returns:
            For the name of each button, its label and a function that does it and shows a message.
        """
        return {}

    def row_view(
        self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: dict[str, Any] | None
    ) -> HttpResponse:
        """Return the page of a row without buttons that save, or the list after one of its other buttons was pressed.

        Raises:
            PermissionDenied: the user may not press the button, or the form has another aim.
        """
        obj = self.get_object(request, unquote(object_id)) if object_id else None
        buttons = self.buttons(request, obj) if obj is not None else {}
        if request.method == "POST":
            pressed = next((name for name in buttons if name in request.POST), None)
            if pressed is None or not self.has_view_or_change_permission(request, obj):
                raise PermissionDenied
            buttons[pressed][1]()
            return HttpResponseRedirect(self.address("changelist"))
        context: dict[str, Any] = {
            "show_save": False,
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
            "title": _("View %s") % self.opts.verbose_name,
            "django_q_buttons": [(name, label) for name, (label, _press) in buttons.items()],
        }
        return super().row_view(request, object_id, form_url, context | (extra_context or {}))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields of the page, and no reverse relation of the project's own models."""
        if self.fields is not None:
            return [*self.readonly_fields, *self.fields]
        names = [field.name for field in self.opts.concrete_fields]
        return [*self.readonly_fields, *(self.page_names().get(name, name) for name in names)]

    def page_names(self) -> dict[str, str]:
        """Return the methods that show columns, by the name of the column."""
        return {}

    # values of any class

    @admin.display(description=_("arguments"))
    def shown_args(self, obj: Any) -> str:
        """Return the positional arguments in the notation of Python."""
        return self.shown(obj, "args")

    @admin.display(description=_("keyword arguments"))
    def shown_kwargs(self, obj: Any) -> str:
        """Return the keyword arguments in the notation of Python."""
        return self.shown(obj, "kwargs")

    def shown(self, obj: Any, attribute: str) -> str:
        """Return a value in a monospaced block; a large one is truncated and linked to its download."""
        return self.preformatted(obj, attribute, notation(lambda: getattr(obj, attribute)))

    # downloads

    def get_urls(self) -> list[Any]:
        """Return the addresses of the model, with that of the downloads."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_value"
        view = self.admin_site.admin_view(self.value_view)
        return [path("<path:object_id>/value/<str:attribute>/", view, name=name), *super().get_urls()]

    def value_view(self, request: HttpRequest, object_id: str, attribute: str) -> HttpResponse:
        """Return a whole value as a text file.

        Raises:
            Http404: there is no such row or value.
            PermissionDenied: the user may not view the row.
        """
        return self.guarded(request, lambda: self.download(request, object_id, attribute))

    def download(self, request: HttpRequest, object_id: str, attribute: str) -> HttpResponse:
        """Return a whole value as a text file, as `value_view`."""
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        if obj is None or attribute not in self.downloads:
            raise Http404
        text = self.whole_text(obj, attribute)
        file_name = f"{slugify(str(obj.pk))[:40]}-{attribute}.txt"
        headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "X-Content-Type-Options": "nosniff"}
        return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)

    def whole_text(self, obj: Any, attribute: str) -> str:
        """Return the text of a value that is downloaded."""
        return notation(lambda: getattr(obj, attribute))

    def preformatted(self, obj: Any, attribute: str, text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
        """Return a text in a monospaced block; a large one is truncated and linked to its download."""
        block = monospaced(beginning(text, limit))
        return block if len(text) <= limit else block + self.download_link(obj, attribute, len(text))

    def download_link(self, obj: Any, attribute: str, length: int) -> str:
        """Return a link to the whole value."""
        label = _("Download all %(count)s characters") % {"count": f"{length:,}"}
        return format_html('<p><a href="{}">{}</a></p>', self.address("value", obj.pk, attribute), label)
