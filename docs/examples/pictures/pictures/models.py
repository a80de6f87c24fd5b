"""Pictures and their thumbnails."""

import uuid

from django.db import models

SIZES = (64, 256, 1024)
"""Width and height of the thumbnails, in pixels at most."""


class Picture(models.Model):
    """Picture that a visitor has uploaded."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    original = models.ImageField(upload_to="originals")
    email = models.EmailField()
    uploaded_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, editable=False)

    def __str__(self):
        return self.original.name


class Thumbnail(models.Model):
    """Smaller copy of a picture."""

    picture = models.ForeignKey(Picture, models.CASCADE, related_name="thumbnails")
    size = models.PositiveIntegerField()
    file = models.ImageField(upload_to="thumbnails")

    class Meta:
        ordering = ["size"]
        constraints = [models.UniqueConstraint(fields=["picture", "size"], name="one_thumbnail_of_each_size")]

    def __str__(self):
        return self.file.name
