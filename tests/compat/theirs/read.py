# It runs on Python 3.9 too.
"""Reads packages with a public edition: JSON of texts by case in, JSON of what they say out."""

import json
import sys

import django

django.setup()

from cases import plain  # noqa: E402
from django_q.signing import SignedPackage  # noqa: E402

print(json.dumps({case: plain(SignedPackage.loads(text)) for case, text in json.load(sys.stdin).items()}))
