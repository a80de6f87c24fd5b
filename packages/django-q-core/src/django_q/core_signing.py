"""Names of `django.core.signing` under their old path."""

from django.core.signing import Signer, TimestampSigner, dumps, loads

__all__ = ["Signer", "TimestampSigner", "dumps", "loads"]
