"""The admin's page of queued tasks in German and French."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q_orm.models import OrmQ

pytestmark = pytest.mark.django_db
CHANGELIST = "admin:django_q_orm_ormq_changelist"

WORDS = {
    "de": ("Wartende Aufgaben", "unlesbar, weil", "gesperrt bis", "Aufgaben-ID", "unzustellbar"),
    "fr": ("Tâches en attente", "illisible car", "verrouillé jusqu", "identifiant de la tâche", "lettre morte"),
}
"""Terms on the page of a dead letter."""

SENTENCES = {
    "de": ("1 unzustellbares Paket ist wieder eingereiht.", "Erneut eingereiht."),
    "fr": ("1 lettre morte est remise en file.", "Remis en file."),
}
"""Message of the action, and its entry in the admin's log."""


@pytest.fixture(autouse=True)
def _orm(settings) -> None:
    settings.Q_CLUSTER = {"name": "test", "orm": "default"}


@pytest.fixture
def dead_letter() -> OrmQ:
    """Row of a dead letter."""
    payload = PackageCodec.of(current_settings()).dumps(new_package("math.floor", (1.5,)))
    return OrmQ.objects.create(key="test-dead", payload=payload, lock=timezone.now())


@pytest.mark.parametrize("language", ["de", "fr"])
def test_page_has_the_terms_of_the_language(admin_client, settings, dead_letter, language) -> None:
    settings.LANGUAGE_CODE = language
    page = admin_client.get(reverse("admin:django_q_orm_ormq_change", args=[dead_letter.pk])).content.decode().lower()
    assert [word for word in WORDS[language] if word.lower() not in page] == []


@pytest.mark.parametrize("language", ["de", "fr"])
def test_action_has_the_language(admin_client, settings, dead_letter, language) -> None:
    settings.LANGUAGE_CODE = language
    chosen = {"action": "requeue_dead_letters", "_selected_action": [dead_letter.pk]}
    page = admin_client.post(reverse(CHANGELIST), chosen, follow=True).content.decode()
    sentence, entry = SENTENCES[language]
    assert sentence in page
    assert LogEntry.objects.get().get_change_message() == entry
