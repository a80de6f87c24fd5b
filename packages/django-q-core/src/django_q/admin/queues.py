"""Admin pages of queues and of their packages, for any broker. Nothing of the project is unpickled here."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_q.admin.overview import UNAVAILABLE, Overview
from django_q.admin.package_rows import ShownPackage, details_of
from django_q.admin.pages import log_and_change, tell
from django_q.admin.values import beginning
from django_q.brokers import PackageState, broker_of
from django_q.brokers.dead_letters import MAX_DEAD_LETTERS, DeadLetter, requeue
from django_q.brokers.packages import PART_PACKAGES, id_of, listed_in_parts
from django_q.models import Queue
from django_q.settings import current_settings
from django_q.terminal.snapshot import Problems, queue_names, queue_row
from django_q.text import one_line
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from django.http import HttpRequest

    from django_q.admin.overview import View
    from django_q.brokers import Broker, ListedPackage
    from django_q.terminal.snapshot import QueueRow

MAX_LISTED_PACKAGES: Final = MAX_DEAD_LETTERS
"""Number of packages that the pages of one state contain: the first ones."""

PAGE_PACKAGES: Final = PART_PACKAGES
"""Number of packages on one page."""

STATE_LABELS: Final = {
    PackageState.WAITING: gettext_lazy("waiting"),
    PackageState.DELAYED: gettext_lazy("delayed"),
    PackageState.LEASED: gettext_lazy("leased"),
    PackageState.DEAD: gettext_lazy("dead letters"),
}
"""Labels of the states."""


class Place(NamedTuple):
    """A state of a queue, of which a page shows packages."""

    name: str
    """Name of the queue."""
    broker: Broker
    state: PackageState
    codec: PackageCodec

    def read(self, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return up to *limit* packages after *offset* others.

        Raises:
            BrokerUnavailable: try again later.
        """
        return self.broker.list_packages(self.state, limit, offset)

    def first(self) -> Iterator[ListedPackage]:
        """Yield the packages that the pages contain."""
        return listed_in_parts(self.broker, self.state, MAX_LISTED_PACKAGES)

    def shown(self, listed: ListedPackage, position: int) -> ShownPackage:
        """Return a package with its metadata."""
        return ShownPackage.of_listed(listed, position, self.codec)

    def found(self, identity: str, position: int) -> ShownPackage | None:
        """Return the package with an id, which was at a position of the list; None if it is not there any more."""
        for listed in self.read(1, position):
            if id_of(listed.package) == identity:
                return self.shown(listed, position)
        found = (self.shown(each, n) for n, each in enumerate(self.first()) if id_of(each.package) == identity)
        return next(found, None)

    def dead_letters(self, identities: Iterable[str]) -> Iterator[DeadLetter]:
        """Yield the dead letters with some ids, each once."""
        wanted = {*identities}
        for package in [each.package for each in self.first() if id_of(each.package) in wanted]:
            letter = DeadLetter.of(package, self.codec)
            if letter.id in wanted:
                wanted.remove(letter.id)
                yield letter


@admin.register(Queue)
class BrokerQueueAdmin(Overview):
    """Queues of the project with their sizes, and their packages if the broker can list them.

    Dead letters can be requeued and deleted with permissions of their own. Other packages are never changed here.
    """

    main_template = "admin/django_q/queues.html"

    def views(self) -> Mapping[str, tuple[str, View]]:
        """Return the pages of packages."""
        return {"packages/": ("packages", self.packages_view), "package/": ("package", self.package_view)}

    def values(self, request: HttpRequest) -> dict[str, Any]:
        """Return the sizes of all queues. If one cannot be read, its reason is shown instead."""
        problems = Problems()
        settings = current_settings()
        names = queue_names(settings, problems.reading_clusters(broker_of(settings.list_key)))
        rows = [row for name in names for row in problems.reading(partial(row_of, name), [])]
        lists = problems.reading(lambda: broker_of(settings.list_key).supports_listing, False)
        return {
            "queues": [(row, self.links(row) if lists else None) for row in rows],
            "lists": lists,
            "problems": problems.sentences,
        }

    def links(self, row: QueueRow) -> dict[str, str]:
        """Return the addresses of the packages of a queue by state."""
        return {state.value: self.address("packages", queue=row.name, state=state) for state in PackageState}

    # packages

    def packages_view(self, request: HttpRequest) -> HttpResponse:
        """Return a page of packages, or the result of an action for dead letters."""
        place = self.place(request)
        if request.method == "POST":
            self.act(request, place, request.POST.getlist("id"))
            return HttpResponseRedirect(self.address("packages", queue=place.name, state=place.state))
        last = MAX_LISTED_PACKAGES // PAGE_PACKAGES
        number = min(max(whole(request.GET.get("p"), 1), 1), last)
        start = (number - 1) * PAGE_PACKAGES
        found = place.read(PAGE_PACKAGES + 1, start)
        rows = [place.shown(listed, start + index) for index, listed in enumerate(found[:PAGE_PACKAGES])]
        has_more = len(found) > PAGE_PACKAGES
        query = {"queue": place.name, "state": place.state}
        values = {
            **self.place_values(request, place),
            "rows": [(row, self.address("package", **query, id=row.id, n=row.position)) for row in rows],
            "number": number,
            "previous": self.address("packages", **query, p=number - 1) if number > 1 else "",
            "next": self.address("packages", **query, p=number + 1) if has_more and number < last else "",
            "is_cut": has_more and number == last,
            "max_packages": MAX_LISTED_PACKAGES,
        }
        title = _("Queue %s") % beginning(one_line(place.name), 100)
        return self.rendered(request, "admin/django_q/packages.html", title, values)

    def package_view(self, request: HttpRequest) -> HttpResponse:
        """Return the page of one package, or the result of one of its buttons."""
        place = self.place(request)
        identity = request.GET.get("id", "")
        packages_url = self.address("packages", queue=place.name, state=place.state)
        if request.method == "POST":
            self.act(request, place, [identity])
            return HttpResponseRedirect(packages_url)
        position = min(max(whole(request.GET.get("n"), 0), 0), MAX_LISTED_PACKAGES)
        if (shown := place.found(identity, position)) is None:
            self.warn(request, _("The package is not there any more: it was delivered, moved or deleted."))
            return HttpResponseRedirect(packages_url)
        values = {**self.place_values(request, place), "row": shown, "details": details_of(shown, place.codec)}
        title = _("Package %s") % shown.id
        return self.rendered(request, "admin/django_q/package.html", title, values)

    def place(self, request: HttpRequest) -> Place:
        """Return the queue and the state in the address.

        Raises:
            Http404: there is no such queue or state, or the broker cannot list packages.
        """
        name = request.GET.get("queue", "")
        settings = current_settings()
        known = queue_names(settings)
        if name not in known:
            known = queue_names(settings, Problems().reading_clusters(broker_of(settings.list_key)))
        try:
            state = PackageState(request.GET.get("state", PackageState.WAITING))
        except ValueError:
            raise Http404 from None
        if name not in known:
            raise Http404
        broker = broker_of(name)
        if not broker.supports_listing:
            raise Http404
        return Place(name, broker, state, PackageCodec.of(broker.settings))

    def place_values(self, request: HttpRequest, place: Place) -> dict[str, Any]:
        """Return the variables of pages of packages."""
        is_dead = place.state is PackageState.DEAD
        return {
            "place": place,
            "state_label": STATE_LABELS[place.state],
            "states": [
                (label, self.address("packages", queue=place.name, state=state), state is place.state)
                for state, label in STATE_LABELS.items()
            ],
            "packages_url": self.address("packages", queue=place.name, state=place.state),
            "is_timed": place.state in (PackageState.DELAYED, PackageState.LEASED),
            "buttons": [(name, label) for name, (label, _do) in self.buttons(request).items()] if is_dead else [],
        }

    # dead letters

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Return True for users who may requeue dead letters."""
        user: Any = request.user
        return user.has_perm("django_q.requeue_dead_letter")

    def has_delete_dead_permission(self, request: HttpRequest) -> bool:
        """Return True for users who may delete dead letters."""
        user: Any = request.user
        return user.has_perm("django_q.delete_dead_letter")

    def buttons(self, request: HttpRequest) -> dict[str, tuple[str, Callable[[HttpRequest, Place, list[str]], None]]]:
        """Return the buttons for dead letters that the user may press: name, label and function."""
        possible = {
            "_requeue": (self.has_requeue_permission, _("Requeue"), self.requeue_dead),
            "_delete": (self.has_delete_dead_permission, _("Delete"), self.delete_dead),
        }
        return {name: (label, do) for name, (is_allowed, label, do) in possible.items() if is_allowed(request)}

    def act(self, request: HttpRequest, place: Place, identities: list[str]) -> None:
        """Do what the pressed button says, and show a message.

        Raises:
            PermissionDenied: the user may not press it, or the packages are no dead letters.
        """
        buttons = self.buttons(request) if place.state is PackageState.DEAD else {}
        pressed = next((name for name in buttons if name in request.POST), None)
        if pressed is None:
            raise PermissionDenied
        try:
            buttons[pressed][1](request, place, [*islice(dict.fromkeys(identities), MAX_LISTED_PACKAGES)])
        except UNAVAILABLE as error:
            tell(self, request, _("The dead letters cannot be changed now: %s"), error)

    def requeue_dead(self, request: HttpRequest, place: Place, identities: list[str]) -> None:
        """Queue dead letters again."""
        self.change(
            request,
            place,
            identities,
            lambda letter: requeue(place.broker, letter),
            _("Requeued."),
            lambda count: ngettext("%d dead letter is queued again.", "%d dead letters are queued again.", count),
        )

    def delete_dead(self, request: HttpRequest, place: Place, identities: list[str]) -> None:
        """Delete dead letters."""
        self.change(
            request,
            place,
            identities,
            lambda letter: place.broker.delete_dead(letter.package),
            _("Deleted."),
            lambda count: ngettext("%d dead letter is deleted.", "%d dead letters are deleted.", count),
        )

    def change(
        self,
        request: HttpRequest,
        place: Place,
        identities: list[str],
        change: Callable[[DeadLetter], bool],
        log_message: str,
        sentence: Callable[[int], str],
    ) -> None:
        """Change dead letters one by one, each after an entry in the admin's log was written.

        A message has their number, even if a server becomes unavailable in between. A letter that could not be changed
        has no entry.
        """
        count = 0
        try:
            for letter in place.dead_letters(identities):
                row = Queue(id=letter.id, queue=one_line(place.name))
                count += log_and_change(self, request, row, log_message, partial(change, letter))
        finally:
            level = messages.SUCCESS if count else messages.WARNING
            self.message_user(request, sentence(count) % count, level)


def row_of(name: str) -> list[QueueRow]:
    """Return the sizes of a queue, as a list of one."""
    return [queue_row(name)]


def whole(text: str | None, otherwise: int) -> int:
    """Return a number of an address; *otherwise* if it is missing or no short decimal number."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else otherwise
