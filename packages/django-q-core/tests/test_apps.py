from __future__ import annotations

from django.apps import apps
from django.test import override_settings


def test_label_follows_the_settings() -> None:
    config = apps.get_app_config("django_q")
    with override_settings(Q_CLUSTER={"label": "Jobs"}):
        assert str(config.verbose_name) == "Jobs"
    with override_settings(Q_CLUSTER={}):
        assert str(config.verbose_name) == "Django Q"


def test_wrong_settings_leave_their_message_to_the_checks() -> None:
    with override_settings(Q_CLUSTER={"workers": "4"}):
        assert str(apps.get_app_config("django_q").verbose_name) == "Django Q"


def test_columns_of_ids_stay_as_they_were() -> None:
    assert apps.get_app_config("django_q").default_auto_field == "django.db.models.AutoField"
