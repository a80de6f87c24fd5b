"""The admin's pages in German and French: each text that is the same in English is a name or a value."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.conf import settings as django_settings
from django.urls import reverse
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.packages import id_of
from django_q.models import Failure, Record, Schedule, Success
from django_q.records import attempts
from django_q.settings import current_settings
from django_q.status import Stat
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db

VALUE = "VALUE"
"""Part of each value of the rows."""

SAME_WORDS = {
    "de": {
        "Name",
        "Cluster",
        "Status",
        "Worker",
        "Host",
        "Broker",
        "Hook",
        "Cron",
        "Traceback",
        "Filter",
        "Options",
        "Version",
    },
    "fr": {
        "Cluster",
        "Worker",
        "Workers",
        "Broker",
        "Hook",
        "Cron",
        "Minutes",
        "Arguments",
        "Options",
        "Actions",
        "Pages",
        "Clusters",
        "Version",
    },
}
"""Words that a language shares with English."""

NAMES = {"Django Q", "Broker: Memory", "ID", "None", "admin", "math.floor", "test"}
"""Texts of the pages that no language translates."""

NUMBER = re.compile(r"[0-9a-f]+|\d{4}-\d\d-\d\d [\d:]+ UTC")
"""Ids, or parts of one, and times."""

STATES = ("waiting", "delayed", "leased", "dead")

PROCESSES = ("sentinel", "pusher", "monitor", "worker")
"""Roles of processes, which have the same names in all languages, followed by their ids."""

READ_ATTRIBUTES = ("aria-label", "placeholder", "title")
"""Attributes whose values are read aloud or shown."""


class Texts(HTMLParser):
    """Texts of a page that a user sees or hears."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.ignored = 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Note the texts of attributes, and the labels of buttons."""
        self.ignored += tag in ("script", "style", "pre")
        values = dict(attrs)
        names = [*READ_ATTRIBUTES, *(["value"] if values.get("type") == "submit" else [])]
        self.found |= {values[name].strip() for name in names if values.get(name)}

    def handle_endtag(self, tag):
        """End a part that is no text."""
        self.ignored -= tag in ("script", "style", "pre")

    def handle_data(self, data):
        """Note a text."""
        if not self.ignored and data.strip():
            self.found.add(" ".join(data.split()))


@pytest.fixture
def pages() -> list[str]:
    """Addresses of all pages, each with a row."""
    broker, now = get_broker(), timezone.now()
    broker.delete_queue()
    columns = {
        "name": f"{VALUE} task",
        "func": f"{VALUE}.floor",
        "started": now,
        "stopped": now,
        "args": (),
        "kwargs": {},
    }
    success = Success.objects.create(id="a" * 32, success=True, result=f"{VALUE} result", **columns)
    failure = Failure.objects.create(id="b" * 32, success=False, result=f"{VALUE} error", **columns)
    attempt = attempts.entry(1, f"{VALUE} worker", now)
    record = Record.objects.create(
        id="c" * 32, name=f"{VALUE} task", func=f"{VALUE}.floor", queue="test", enqueued_at=now, attempts=[attempt]
    )
    schedule = Schedule.objects.create(name=f"{VALUE} schedule", func="math.floor", schedule_type=Schedule.HOURLY)
    package = PackageCodec.of(current_settings()).dumps(
        new_package("math.floor", (1.5,), group=VALUE) | {"name": VALUE, "id": "d" * 32}
    )
    for made in (package, package):
        broker.enqueue(made)
    dead, _leased = broker.dequeue_many(2, 0)
    broker.move_to_dead_letters(dead)
    broker.enqueue(package)
    broker.enqueue(package, delay=60)
    stat = Stat(
        4000, "a-cluster", tob=now - timedelta(hours=1), host=VALUE, status="Working", workers=[4004], queue="test"
    )
    stat.save(broker)
    kinds = ("success", "failure", "record", "schedule")
    yield [
        reverse("admin:index"),
        *(reverse(f"admin:django_q_{kind}_changelist") for kind in (*kinds, "queue", "cluster")),
        *(
            reverse(f"admin:django_q_{kind}_change", args=[row.pk])
            for kind, row in zip(kinds, (success, failure, record, schedule), strict=True)
        ),
        reverse("admin:django_q_schedule_add"),
        *(reverse("admin:django_q_queue_packages", query={"queue": "test", "state": state}) for state in STATES),
        *(
            reverse("admin:django_q_queue_package", query={"queue": "test", "state": state, "id": id_of(package)})
            for state in ("waiting", "delayed", "dead")
        ),
    ]
    broker.set_stat(stat.key, "", 0.001)
    broker.delete_queue()


def texts(client, address: str, language: str) -> set[str]:
    """Return the texts of a page in the language of a browser."""
    response = client.get(address, headers={"Accept-Language": language})
    assert response.status_code == 200, address
    assert f'lang="{language}"' in response.content.decode()
    return Texts(response.content.decode()).found


def is_english(text: str, language: str) -> bool:
    """Return True if a text that is the same in two languages should be translated."""
    word = text.strip("\u203a: ")
    is_value = VALUE in text or word in NAMES or bool(NUMBER.fullmatch(word)) or text.startswith(PROCESSES)
    return any(map(str.isalpha, text)) and not is_value and word.capitalize() not in SAME_WORDS[language]


@pytest.mark.parametrize("language", ["de", "fr"])
def test_pages_have_no_english_text(admin_client, settings, pages, language) -> None:
    settings.MIDDLEWARE = [*django_settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    not_ours = texts(admin_client, reverse("admin:auth_user_changelist"), language)  # Django may lack translations
    english = {
        text: address
        for address in pages
        for text in texts(admin_client, address, language) & texts(admin_client, address, "en")
        if is_english(text, language) and text not in not_ours
    }
    assert english == {}


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("de", "1 unzustellbares Paket ist wieder eingereiht."),
        ("fr", "1 lettre morte est remise en file."),
    ],
)
def test_message_of_an_action_is_translated(admin_client, settings, pages, language, sentence) -> None:
    settings.LANGUAGE_CODE = language
    shown = admin_client.get(pages[-1])
    response = admin_client.post(pages[-1], {"_requeue": "", "id": shown.context["row"].id}, follow=True)
    assert sentence in Texts(response.content.decode()).found


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ("Erfolgreiche Aufgaben", "Fehlgeschlagene Aufgaben", "Geplante Aufgaben", "Warteschlangen", "Cluster")),
        ("fr", ("Tâches réussies", "Tâches échouées", "Tâches planifiées", "Files d\u2019attente", "Clusters")),
    ],
)
def test_index_has_the_terms_of_the_language(admin_client, settings, language, words) -> None:
    settings.LANGUAGE_CODE = language
    assert set(words) <= texts(admin_client, reverse("admin:index"), language)
