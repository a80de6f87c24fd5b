"""Base class of pages that show servers and processes, and no rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import InterfaceError, OperationalError
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import capfirst

from django_q.admin.pages import Page
from django_q.exceptions import DjangoQError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    View: TypeAlias = Callable[[HttpRequest], HttpResponse]

UNAVAILABLE = (DjangoQError, ImproperlyConfigured, InterfaceError, OperationalError)
"""Errors of servers and settings, which become messages."""


class Overview(Page):
    """Page without rows, which users with its view permission may open."""

    unavailable = UNAVAILABLE
    main_template: ClassVar[str]
    """Template of the page."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: there is nothing to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False: there is nothing to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False: there are no rows to delete."""
        return False

    def get_urls(self) -> list[Any]:
        """Return the addresses: that of the page, which has the name of a list, and others of `views`."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        views: dict[str, tuple[str, View]] = {"": ("changelist", self.main_view), **self.views()}
        return [
            path(route, self.admin_site.admin_view(self.permitted(view)), name=f"{name}_{suffix}")
            for route, (suffix, view) in views.items()
        ]

    def views(self) -> Mapping[str, tuple[str, View]]:
        """Return more pages: for each route, the end of its name and the view."""
        return {}

    def permitted(self, view: View) -> View:
        """Return a view for users with the view permission. An unavailable server becomes a message."""

        def guarded_view(request: HttpRequest) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            return self.guarded(request, lambda: view(request))

        return guarded_view

    def main_view(self, request: HttpRequest) -> HttpResponse:
        """Return the page."""
        return self.rendered(
            request, self.main_template, capfirst(str(self.opts.verbose_name_plural)), self.values(request)
        )

    def values(self, request: HttpRequest) -> dict[str, Any]:
        """Return the variables of the page's template."""
        return {}

    def rendered(self, request: HttpRequest, template: str, title: str, values: Mapping[str, Any]) -> HttpResponse:
        """Return a page with the header and the navigation of the admin."""
        context = {
            **self.admin_site.each_context(request),
            "media": self.media,
            "opts": self.opts,
            "title": title,
            "main_url": self.address("changelist"),
            **values,
        }
        request.current_app = self.admin_site.name  # type: ignore[attr-defined]
        return TemplateResponse(request, template, context)

    def warn(self, request: HttpRequest, sentence: str) -> None:
        """Show a warning to the user."""
        self.message_user(request, sentence, messages.WARNING)
