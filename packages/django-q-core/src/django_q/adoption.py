"""A table that another edition of Django Q left behind → ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.migrations.operations import CreateModel

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class AdoptModel(CreateModel):
    """Creates a model's table, or takes over the one that is there with all its rows.

    A table that is taken over gets the columns it lacks; those it has stay as they are.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create or adopt."""
        model = to_state.apps.get_model(app_label, self.name)
        introspection = schema_editor.connection.introspection
        with schema_editor.connection.cursor() as cursor:
            if model._meta.db_table not in introspection.table_names(cursor):
                return super().database_forwards(app_label, schema_editor, from_state, to_state)
            existing = {column.name for column in introspection.get_table_description(cursor, model._meta.db_table)}
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            for field in model._meta.local_concrete_fields:
                if field.column not in existing:
                    schema_editor.add_field(model, field)
        return None

    def describe(self) -> str:
        """Say what migrate is about to do."""
        return f"Create or adopt model {self.name}"
