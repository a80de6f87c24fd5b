"""Books that are lent."""

from django.db import models


class Loan(models.Model):
    """A book that a reader has."""

    book = models.CharField(max_length=100)
    reader = models.CharField(max_length=100)
    reminders = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.book
