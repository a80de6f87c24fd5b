"""Settings of a site with an admin theme, which the environment variable `DJANGO_Q_THEME` names."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [os.environ["DJANGO_Q_THEME"], *APPS, "django.contrib.staticfiles"]
ROOT_URLCONF = "tests.urls"
Q_CLUSTER = {"name": "test", "orm": "default", "retry": 600, "timeout": 300}
