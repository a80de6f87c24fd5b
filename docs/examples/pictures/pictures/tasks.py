"""Tasks of the site. A cluster executes them."""

from datetime import timedelta
from io import BytesIO

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.mail import send_mail
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django_q.tasks import async_iter, async_task, scheduled
from PIL import Image, ImageOps

from pictures.models import SIZES, Picture


def send_thumbnails(picture):
    """Send one task for each size, when the transaction commits."""
    send = async_iter.options(
        on_commit=True,
        ack_failure=True,
        group=str(picture.pk),
        callback=finish,
    )
    send(make_thumbnail, [(picture.pk, size) for size in SIZES])


def make_thumbnail(picture_id, size):
    """Make the thumbnail of one size."""
    picture = Picture.objects.get(pk=picture_id)
    if picture.thumbnails.filter(size=size).exists():
        return size  # this task was executed before
    with Image.open(picture.original) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((size, size))
    content = BytesIO()
    small.save(content, "JPEG")
    picture.thumbnails.create(size=size, file=ContentFile(content.getvalue(), f"{picture_id}-{size}.jpg"))
    return size


def finish(task):
    """Mark the picture as finished, and send its mail. All thumbnails are ready, or have failed."""
    with transaction.atomic():
        unfinished = Picture.objects.filter(pk=task.group, finished_at=None)
        if unfinished.update(finished_at=timezone.now()):
            async_task.options(on_commit=True)(mail_result, task.group)


def mail_result(picture_id):
    """Mail the address of the result page."""
    picture = Picture.objects.get(pk=picture_id)
    address = settings.SITE_ADDRESS + reverse("result", args=[picture.pk])
    ready = picture.thumbnails.count()
    send_mail(
        "Your picture",
        f"{ready} of {len(SIZES)} thumbnails are ready: {address}",
        settings.DEFAULT_FROM_EMAIL,
        [picture.email],
    )


@scheduled(cron="30 3 * * *", name="delete old pictures")
def delete_old_pictures(days=30):
    """Delete pictures that are older than some days, with their files."""
    old = Picture.objects.filter(uploaded_at__lt=timezone.now() - timedelta(days=days))
    for picture in old:
        for thumbnail in picture.thumbnails.all():
            thumbnail.file.delete(save=False)
        picture.original.delete(save=False)
        picture.delete()
