"""Completes 0001 to 0014 for a database on which an old django-q applied only some of them.

For all other databases, the squashed migration replaces this one.
"""

from __future__ import annotations

from django.db import migrations

from django_q.migrations._tables import tables


class Migration(migrations.Migration):
    """Brings older tables to the state of 0014."""

    dependencies = []
    operations = tables()
