"""Tasks of `django.tasks`: their API, their results, and their execution. `django_q.backend` is the back end."""
