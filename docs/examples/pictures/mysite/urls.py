"""Addresses of the site."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import path
from pictures import views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("pictures/<uuid:pk>/", views.result, name="result"),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),  # only with DEBUG
]
