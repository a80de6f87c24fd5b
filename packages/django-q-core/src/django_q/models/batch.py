"""Models of batches, which count the final members of iters."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_q.models.task import ID_LENGTH
from django_q.wire.option_values import LABEL_CHARACTERS, PATH_CHARACTERS

LABEL_LENGTH = LABEL_CHARACTERS
"""Maximum length of the labels, in characters."""

PATH_LENGTH = PATH_CHARACTERS
"""Maximum length of a dotted path and of a queue's key, in characters."""


class Batch(models.Model):
    """Counters of the members of one iter, and the options of its collated result.

    The transaction that saves members updates the counters. Only `django_q.workflows` writes rows.
    """

    id = models.CharField(max_length=ID_LENGTH, primary_key=True, editable=False)
    """Id of the iter and of its result."""
    total = models.IntegerField()
    """Number of members."""
    done = models.IntegerField(default=0)
    """Number of members that succeeded."""
    failed = models.IntegerField(default=0)
    """Number of members that failed, were dead-lettered, cancelled or lost."""
    callback = models.CharField(max_length=PATH_LENGTH, null=True)
    """Dotted path of the function that is called with the collated task."""
    name = models.CharField(max_length=LABEL_LENGTH, null=True)
    """Name of the collated task."""
    group = models.CharField(max_length=LABEL_LENGTH, null=True)
    """Group of the collated task."""
    func = models.CharField(max_length=PATH_LENGTH)
    """Dotted path of the members' function."""
    kwargs = models.TextField(null=True)
    """The members' keyword arguments, encoded; known when the first of them is final."""
    keep = models.BooleanField(null=True)
    """Value of the option `save`; None if it was not given."""
    cached = models.IntegerField(null=True)
    """Seconds for which the collated task is cached, 0 for no limit; None if it is saved in the database."""
    cluster = models.CharField(max_length=LABEL_LENGTH, null=True)
    """Name of the cluster that executes the members."""
    queue = models.CharField(max_length=PATH_LENGTH, null=True)
    """Key of the queue, which is the prefix of keys in the cache."""
    trace = models.CharField(max_length=55, null=True)
    """W3C `traceparent` of the span that sent the members, for the callback."""
    started = models.DateTimeField()
    """Time at which the first member was sent."""
    created = models.DateTimeField(default=timezone.now)
    updated = models.DateTimeField(default=timezone.now)
    """Time of the last outcome or other sign of progress of a member."""
    completed = models.DateTimeField(null=True)
    """Time at which the last member was final."""
    delivered = models.DateTimeField(null=True)
    """Time at which the collated task was saved and its callback had returned."""
    due = models.DateTimeField()
    """Time at which the maintenance step completes, delivers or deletes this batch."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Batch")
        verbose_name_plural = _("Batches")
        indexes = (models.Index(fields=["due"], name="django_q_batch_due"),)

    def __str__(self) -> str:
        return self.name or self.id


class BatchMember(models.Model):
    """Final outcome of one member. It is deleted after the collated result is delivered."""

    id = models.BigAutoField(primary_key=True)
    batch = models.ForeignKey(Batch, models.CASCADE, related_name="members", db_index=False)
    task_id = models.CharField(max_length=ID_LENGTH)
    success = models.BooleanField()
    started = models.DateTimeField()
    """Time at which the member was sent."""
    args = models.TextField(null=True)
    """Positional arguments, encoded by `django_q.wire.outcome.encode`."""
    result = models.TextField(null=True)
    """Result, or text of the failure, encoded."""

    class Meta:
        app_label = "django_q"
        db_table = "django_q_batch_member"
        verbose_name = _("Batch member")
        verbose_name_plural = _("Batch members")
        constraints = (models.UniqueConstraint(fields=["batch", "task_id"], name="django_q_batch_member_once"),)

    def __str__(self) -> str:
        return self.task_id
