"""Adds the trace of an iter."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the trace of an iter, for its callback."""

    dependencies = [("django_q", "0027_pages")]
    operations = [
        migrations.AddField(model_name="batch", name="trace", field=models.CharField(max_length=55, null=True)),
    ]
