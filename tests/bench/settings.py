"""Django settings of a site that is measured: of ours, and of Django's own tasks."""

from __future__ import annotations

from .peers import OURS as OUR_PEERS
from .trial import Place

PLACE = Place.here()
TRIAL = PLACE.trial
OURS = TRIAL.peer in OUR_PEERS

SECRET_KEY = "not a secret: for measurements only, and as long as Django likes it"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": PLACE.database}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    *(["django_q", "django_q_orm"] if OURS else ["django_tasks_db"]),
]
TASKS = {"default": {"BACKEND": "django_q.backend.DjangoQBackend" if OURS else "django_tasks_db.DatabaseBackend"}}

# No task queue logs a line for each task.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
    "loggers": {name: {"level": "ERROR"} for name in ("django-q", "django_q", "django_tasks", "django.tasks")},
}

Q_CLUSTER = {"name": "bench", "workers": TRIAL.workers, **TRIAL.settings}
if not TRIAL.own_broker:
    Q_CLUSTER["redis"] = PLACE.redis
