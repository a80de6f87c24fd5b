# It runs on Python 3.9 too.
"""The settings of a site that runs a public edition."""

import os

SECRET_KEY = "golden key"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_q"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["GOLDEN_DATABASE"]}}
DATABASES["default"]["OPTIONS"] = {"timeout": 20}
Q_CLUSTER = {
    "name": "golden",
    "orm": "default",
    "workers": 1,
    "timeout": 30,
    "retry": 60,
    "poll": 0.05,
    "ack_failures": True,
    "compress": bool(os.environ.get("GOLDEN_COMPRESS")),
}
