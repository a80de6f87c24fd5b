"""Tests of the site. They need no cluster."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings
from django.utils import timezone
from django_q.testing import CapturedTasksMixin, assert_sent, run_tasks
from PIL import Image

from pictures import tasks
from pictures.models import SIZES, Picture


def jpeg():
    """Return the bytes of a picture of 1200 x 600 pixels."""
    content = BytesIO()
    Image.new("RGB", (1200, 600), "orange").save(content, "JPEG")
    return content.getvalue()


class PictureTests(CapturedTasksMixin, TestCase):
    """Tests of uploads, with a folder of their own for files."""

    def setUp(self):
        super().setUp()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.media = Path(folder.name)
        changed = override_settings(MEDIA_ROOT=folder.name)
        changed.enable()
        self.addCleanup(changed.disable)

    def upload(self, content):
        """Upload a picture, and return the address of its result page."""
        file = SimpleUploadedFile("sun.jpg", content, "image/jpeg")
        return self.client.post("/", {"original": file, "email": "ann@example.com"}).url

    def test_page_shows_the_progress(self):
        page = self.upload(jpeg())
        assert_sent(tasks.make_thumbnail, times=len(SIZES))
        self.assertContains(self.client.get(page), "0 of 3 thumbnails are ready")
        self.assertContains(self.client.get(page), 'http-equiv="refresh"')

    def test_thumbnails_are_made_and_mailed(self):
        page = self.upload(jpeg())
        run_tasks()
        self.assertContains(self.client.get(page), "all thumbnails are ready")
        self.assertNotContains(self.client.get(page), 'http-equiv="refresh"')
        thumbnails = Picture.objects.get().thumbnails.all()
        sizes = [(each.file.width, each.file.height) for each in thumbnails]
        self.assertEqual(sizes, [(64, 32), (256, 128), (1024, 512)])
        self.assertEqual(mail.outbox[0].to, ["ann@example.com"])
        self.assertIn(page, mail.outbox[0].body)

    def test_broken_picture_is_reported_once(self):
        page = self.upload(jpeg()[:-1000])  # the form does not notice it
        attempts = run_tasks()
        thumbnails = [each for each in attempts if each.func == "pictures.tasks.make_thumbnail"]
        self.assertEqual([each.success for each in thumbnails], [False] * len(SIZES))
        self.assertContains(self.client.get(page), "0 of 3 thumbnails could be made")
        self.assertEqual(len(mail.outbox), 1)

    def test_second_execution_changes_nothing(self):
        self.upload(jpeg())
        run_tasks()
        picture = Picture.objects.get()
        self.assertEqual(tasks.make_thumbnail(picture.pk, 64), 64)
        self.assertEqual(picture.thumbnails.count(), len(SIZES))

    def test_only_old_pictures_are_deleted(self):
        for _ in range(2):
            self.upload(jpeg())
        run_tasks()
        old, new = Picture.objects.all()
        Picture.objects.filter(pk=old.pk).update(uploaded_at=timezone.now() - timedelta(days=31))
        tasks.delete_old_pictures()
        self.assertEqual(list(Picture.objects.all()), [new])
        self.assertEqual(sum(file.is_file() for file in self.media.rglob("*")), 1 + len(SIZES))
