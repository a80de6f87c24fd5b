"""The codec of packages under its old name."""

from __future__ import annotations

from typing import Any

from django.core.signing import BadSignature

from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec, PickleSerializer

__all__ = ["BadSignature", "PackageCodec", "PickleSerializer", "SignedPackage"]


class SignedPackage:
    """Signs and reads packages with the current settings, but neither cached results nor statistics."""

    @staticmethod
    def dumps(obj: object, compressed: bool | None = None) -> str:
        """Pickle and sign an object.

        Args:
            obj: the object.
            compressed: True to compress it; None for the setting `compress`.
        """
        codec = SignedPackage._codec()
        if compressed is not None:
            codec.compress = compressed
        return codec.dumps(obj)

    @staticmethod
    def loads(obj: str | bytes) -> Any:
        """Verify and unpickle a package.

        Raises:
            BadSignature: the signature is missing or foreign.
            Exception: raised by pickle, or by code of the object.
        """
        return PickleSerializer.loads(SignedPackage._codec().unsign(obj))

    @staticmethod
    def _codec() -> PackageCodec:
        return PackageCodec.of(current_settings())
