# It runs on Python 3.9 too.
"""The settings of a site that moves between editions. The environment names its broker and database."""

import json
import os
from importlib.util import find_spec

SECRET_KEY = "moving"
USE_TZ = True
TIME_ZONE = "UTC"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "moving_urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_q",
    *(["django_q_orm"] if find_spec("django_q_orm") else []),
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": json.loads(os.environ["MOVING_DATABASE"])}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": os.environ["MOVING_CACHE"],
    }
}
STATIC_URL = "/static/"
Q_CLUSTER = {
    "name": "moving",
    "workers": 2,
    "timeout": 30,
    "retry": 60,
    "poll": 0.05,
    "ack_failures": True,
    "batch_timeout": 3,  # the public editions ignore it
    **json.loads(os.environ["MOVING_BROKER"]),
}
