"""The tests of the project in here belong to its own environment."""

collect_ignore = ["django-q-folder"]
