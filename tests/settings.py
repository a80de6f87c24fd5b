"""Django settings of all tests."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec

from tests.services import chosen

with suppress(ImportError):
    import pymysql

    pymysql.install_as_MySQLdb()

SECRET_KEY = "not a secret: for tests only"
ALLOWED_HOSTS = ["*"]
DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True

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
        "APP_DIRS": True,
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": chosen.database()}
# Processes of one test share the cache: a cluster's statistics are kept there. Tests that run side by side do not,
# because some clear it; and it never makes room by dropping entries at random, as it would from 300 on.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(chosen.folder() / f"cache-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"),
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    },
}

Q_CLUSTER = {"name": "test", "broker_class": "django_q.brokers.memory.MemoryBroker", "workers": 2}
