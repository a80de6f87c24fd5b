"""Indexes without empty values, on the database of the tests."""

from __future__ import annotations

import pytest
from django.db import connection
from django_q.models import Record, Task

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", [Task, Record])
@pytest.mark.parametrize("value", [{"group": "a"}, {"group__in": ["a", "b"]}, {"group__isnull": False}])
def test_query_for_groups_uses_their_index(model, value) -> None:
    if connection.vendor == "postgresql":  # it reads a small table without an index
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = model._base_manager.filter(**value).order_by().explain()
    assert f"{model._meta.db_table}_group" in plan


@pytest.mark.parametrize("model", [Task, Record])
def test_index_of_groups_leaves_empty_ones_out_if_possible(model) -> None:
    index = next(each for each in model._meta.indexes if each.fields == ["group"])
    statement = str(index.create_sql(model, connection.SchemaEditorClass(connection)))
    assert statement.endswith("IS NOT NULL") == connection.features.supports_partial_indexes
