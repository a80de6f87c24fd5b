# It runs on Python 3.9 too.
"""The pages of the site: its admin."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
