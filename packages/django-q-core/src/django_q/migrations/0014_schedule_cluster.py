"""The rest of 0001 to 0014, for a database that an old django-q brought only part of the way.

Everywhere else the squashed migration stands for this one.
"""

from __future__ import annotations

from django.db import migrations

from django_q.migrations._tables import tables


class Migration(migrations.Migration):
    """Brings any older tables to the state of 0014."""

    dependencies = []
    operations = tables()
