"""Index of the rows in which a field has a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


class ValueIndex(models.Index):
    """Index of one field without its empty values, so that a row without a value costs nothing.

    A database without partial indexes, such as MySQL, gets an index of all rows. A `condition` would give it none.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Statement:
        """Return the statement that creates the index."""
        has_value = None
        if schema_editor.connection.features.supports_partial_indexes:
            has_value = models.Q((f"{self.fields[0]}__isnull", False))
        index = models.Index(fields=self.fields, name=self.name, condition=has_value)
        return index.create_sql(model, schema_editor, using, **kwargs)
