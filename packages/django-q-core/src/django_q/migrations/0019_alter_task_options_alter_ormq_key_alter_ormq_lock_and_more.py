"""Empty migration. In django-q2, it changes texts only; databases of django-q2 have applied its name."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    """Empty migration."""

    dependencies = [("django_q", "0018_task_success_index")]
    operations = []
