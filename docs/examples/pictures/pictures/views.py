"""Pages of the site."""

from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render

from pictures.forms import UploadForm
from pictures.models import SIZES, Picture
from pictures.tasks import send_thumbnails


def upload(request):
    """Save a picture, and send its tasks."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if not form.is_valid():
        return render(request, "pictures/upload.html", {"form": form})
    with transaction.atomic():
        picture = form.save()
        send_thumbnails(picture)
    return redirect("result", picture.pk)


def result(request, pk):
    """Show the thumbnails that are ready."""
    picture = get_object_or_404(Picture, pk=pk)
    thumbnails = list(picture.thumbnails.all())
    context = {"picture": picture, "thumbnails": thumbnails, "ready": len(thumbnails), "total": len(SIZES)}
    return render(request, "pictures/result.html", context)
