"""A site of each kind with its cluster, one for all examples: they are many, and a cluster takes a second to start."""

from __future__ import annotations

import shutil

import pytest

from tests.acceptance.conftest import Q_CLUSTER, migrated
from tests.acceptance.site import Site

__all__ = ["migrated"]

MORE = """
CACHES["default"]["OPTIONS"] = {"MAX_ENTRIES": 100_000}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = %(mails)r
ADMINS = [%(admin)s]
"""

HOOKS = """
from jobs import note

def print_result(task):
    note("printed", task.result)
"""

TASKS = """
from django_q.tasks import async_task
from django.contrib.auth.models import User

# report generator
def create_html_report(user):
    if user.username == "nobody":
        raise ValueError("no report")
    html_report = 'We had a great quarter!'
    return html_report

# report mailer
def email_report(task):
    if task.success:
        # Email the report
        async_task('django.core.mail.send_mail',
                'The report you requested',
                task.result,
                'from@example.com',
                [task.args[0].email])
    else:
        # Tell the admins something went wrong
        async_task('django.core.mail.mail_admins',
                'Report generation failed',
                task.result)

def inform_everyone(user):
    for u in User.objects.exclude(pk=user.pk):
        msg = f"Dear {u.username}, {user.username} has a new email address: {user.email}"
        async_task('django.core.mail.send_mail',
            'New email', msg, 'from@example.com', [u.email])

from django.core import management

# wrapping `manage.py clearsessions`
def clear_sessions_command():
    return management.call_command('clearsessions')

from haystack import connection_router, connections

def index_object(sender, instance):
    # get possible backends
    backends = connection_router.for_write(instance=instance)
    for backend in backends:
        # get the index for this model
        index = connections[backend].get_unified_index() \\
            .get_index(sender)
        # update it
        index.update_object(instance, using=backend)
"""

HAYSTACK = '''
"""As much of Haystack as the example uses."""
from jobs import note

class connection_router:
    def for_write(instance):
        return ["default"]

class Index:
    def get_unified_index(self):
        return self

    def get_index(self, sender):
        return self

    def update_object(self, instance, using):
        note("indexed", instance, using)

connections = {"default": Index()}
'''

PARZEN = """
import numpy
from django_q.tasks import async_iter, async_task, result, result_group, delete_group

# the estimation function
def parzen_estimation(x_samples, point_x, h):
    k_n = 0
    for row in x_samples:
        x_i = (point_x - row[:, numpy.newaxis]) / h
        for row in x_i:
            if numpy.abs(row) > (1 / 2):
                break
        else:
            k_n += 1
    return h, (k_n / len(x_samples)) / (h ** point_x.shape[1])

# create 100 calculations and return the collated result
def parzen_async():
    # clear the previous results
    delete_group('parzen', cached=True)
    mu_vec = numpy.array([0, 0])
    cov_mat = numpy.array([[1, 0], [0, 1]])
    sample = numpy.random. \\
        multivariate_normal(mu_vec, cov_mat, 10000)
    widths = numpy.linspace(1.0, 1.2, 100)
    x = numpy.array([[0], [0]])
    # async_task them with a group label to the cache backend
    for w in widths:
        async_task(parzen_estimation, sample, x, w,
            group='parzen', cached=True)
    # return after 100 results
    return result_group('parzen', count=100, cached=True)

def parzen_async_iter():
    mu_vec = numpy.array([0, 0])
    cov_mat = numpy.array([[1, 0], [0, 1]])
    sample = numpy.random. \\
        multivariate_normal(mu_vec, cov_mat, 10000)
    widths = numpy.linspace(1.0, 1.2, 100)
    x = numpy.array([[0], [0]])
    # async_task them with async_task iterable
    args = [(sample, x, w) for w in widths]
    result_id = async_iter(parzen_estimation, args, cached=True)
    # return the cached result or timeout after 10 seconds
    return result(result_id, wait=60000, cached=True)
"""

MODULES = {"hooks": HOOKS, "tasks": TASKS, "haystack": HAYSTACK, "parzen": PARZEN}

USERS = """
from django.contrib.auth.models import User
for name in ("anne", "bert", "nobody"):
    User.objects.create_user(name, f"{name}@example.com")
"""


@pytest.fixture(scope="module", params=["redis", "database", "sync"])
def site(request, tmp_path_factory, migrated):
    """A site with a running cluster on each broker, or without one in sync mode."""
    q_cluster = Q_CLUSTER | {"ack_failures": True, "poll": 0.05}
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.start()
        server.flush()
        q_cluster["redis"] = server.url
    elif request.param == "database":
        q_cluster["orm"] = "default"
    else:
        q_cluster |= {"sync": True, "redis": {"host": "nowhere.invalid"}}
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(migrated.sqlite(), folder / "db.sqlite3")
    site = Site(folder, q_cluster, None, ("django_q_orm",))
    site.kind = request.param
    site.mails = folder / "mails"
    with (folder / "site_settings.py").open("a") as settings:
        # Django 6.0 wants addresses, earlier ones pairs.
        admin = '"admin@example.com" if __import__("django").VERSION >= (6,) else ("Admin", "admin@example.com")'
        settings.write(MORE % {"mails": str(site.mails), "admin": admin})
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    site.run(USERS)
    if request.param == "sync":
        yield site
    else:
        with site.cluster():
            yield site
