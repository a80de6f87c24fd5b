from __future__ import annotations

from django.apps import apps
from django.test import override_settings


def test_label_follows_the_settings() -> None:
    config = apps.get_app_config("django_q")
    with override_settings(Q_CLUSTER={"label": "Jobs"}):
        assert str(config.verbose_name) == "Jobs"
    with override_settings(Q_CLUSTER={}):
        assert str(config.verbose_name) == "Django Q"


def test_label_does_not_raise_for_invalid_settings() -> None:
    with override_settings(Q_CLUSTER={"workers": "4"}):
        assert str(apps.get_app_config("django_q").verbose_name) == "Django Q"


def test_columns_of_ids_keep_their_type() -> None:
    assert apps.get_app_config("django_q").default_auto_field == "django.db.models.AutoField"
