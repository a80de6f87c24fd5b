"""Settings of a small project whose tests use each helper of `django_q.testing`."""

SECRET_KEY = "not a secret: for tests only"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_q", "library"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": "test.sqlite3"}}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
Q_CLUSTER = {"name": "library", "redis": "redis://127.0.0.1:9", "max_attempts": 3, "retry": 600}
