"""Only words changed here in django-q2: kept for its name."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    """The step."""

    dependencies = [("django_q", "0018_task_success_index")]
    operations = []
