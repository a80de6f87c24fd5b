from __future__ import annotations

import sys

import pytest
from django_q import models


def test_old_names_resolve() -> None:
    pytest.importorskip("django_q_orm")
    from django_q.models import Failure, OrmQ, Schedule, Success, Task, validate_cron, validate_kwarg

    assert OrmQ.__module__ == "django_q_orm.models"
    assert all((Failure, Schedule, Success, Task, validate_cron, validate_kwarg))


def test_missing_plugin_has_a_hint(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "django_q_orm.models", None)
    with pytest.raises(ImportError, match="pip install django-q-orm, and add 'django_q_orm' to INSTALLED_APPS"):
        from django_q.models import OrmQ  # noqa: F401


def test_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(models, "NoSuchModel")
