"""The old face of `django.core.signing`."""

from django.core.signing import Signer, TimestampSigner, dumps, loads

__all__ = ["Signer", "TimestampSigner", "dumps", "loads"]
