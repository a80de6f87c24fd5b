"""The old name of the codec of packages."""

from __future__ import annotations

from typing import Any

from django.core.signing import BadSignature

from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec, PickleSerializer

__all__ = ["BadSignature", "PackageCodec", "PickleSerializer", "SignedPackage"]


class SignedPackage:
    """Signs and reads packages as the current settings say."""

    @staticmethod
    def dumps(obj: object, compressed: bool | None = None) -> str:
        """Sign `obj` as the current settings say."""
        codec = SignedPackage._codec()
        if compressed is not None:
            codec.compress = compressed
        return codec.dumps(obj)

    @staticmethod
    def loads(obj: str | bytes) -> Any:
        """Read `obj`, raising `BadSignature` or whatever unpickling raises."""
        return PickleSerializer.loads(SignedPackage._codec().unsign(obj))

    @staticmethod
    def _codec() -> PackageCodec:
        return PackageCodec.of(current_settings())
