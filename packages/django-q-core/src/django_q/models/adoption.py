"""Migration operation that creates a table, or adopts one of another edition of Django Q."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.migrations.operations import AddField, CreateModel

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class AdoptModel(CreateModel):
    """Creates a model's table, or adopts an existing one with all its rows.

    An adopted table gets the columns that it lacks. Its existing columns are not changed.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create or adopt the table."""
        model = to_state.apps.get_model(app_label, self.name)
        existing = columns_of(schema_editor, model._meta.db_table)
        if not existing:
            return super().database_forwards(app_label, schema_editor, from_state, to_state)
        missing = [name for name, _field in self.fields if model._meta.get_field(name).column not in existing]
        return self._add(missing, app_label, schema_editor, from_state)

    def _add(
        self, names: list[str], app_label: str, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState
    ) -> None:
        """Add columns one by one: SQLite rebuilds the table from the model, which must have exactly its columns."""
        state = state.clone()
        there = [(name, field) for name, field in self.fields if name not in names]
        CreateModel(self.name, there, self.options, self.bases, self.managers).state_forwards(app_label, state)
        for name, field in self.fields:
            if name in names:
                before, operation = state.clone(), AddField(self.name, name, field)
                operation.state_forwards(app_label, state)
                operation.database_forwards(app_label, schema_editor, before, state)

    def describe(self) -> str:
        """Return the description that `migrate` shows."""
        return f"Create or adopt model {self.name}"


def columns_of(schema_editor: BaseDatabaseSchemaEditor, table: str) -> set[str]:
    """Return the names of a table's columns; an empty set if the table does not exist."""
    introspection = schema_editor.connection.introspection
    with schema_editor.connection.cursor() as cursor:
        if table not in introspection.table_names(cursor):
            return set()
        return {column.name for column in introspection.get_table_description(cursor, table)}
