"""Package ↔ signed text: nobody without the `SECRET_KEY` can write one."""

from __future__ import annotations

import hmac
import time
import zlib
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.signing import BadSignature, b62_encode
from django.utils.encoding import force_bytes

from django_q.exceptions import UnreadablePackage
from django_q.wire import fast_base64, pickling
from django_q.wire.fast_base64 import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash

    from django_q.settings import ClusterSettings


class PackageCodec:
    """Signs, compresses and verifies packages: byte for byte the format of `django.core.signing`.

    The salt is the `name` of the `Q_CLUSTER`: sites that share a broker cannot run each other's
    tasks. A package never gets too old: it is signed with a time, but nobody looks at it.
    """

    def __init__(self, salt: str, *, compress: bool = False) -> None:
        self.salt = salt
        self.compress = compress

    @classmethod
    def of(cls, settings: ClusterSettings) -> PackageCodec:
        """Return the codec of a cluster."""
        return cls(settings.name, compress=settings.compress)

    def dumps(self, obj: object) -> str:
        """Pickle and sign; compressed when asked for and smaller."""
        return self.sign(PickleSerializer.dumps(obj))

    def loads(self, package: str | bytes) -> Any:
        """Verify and unpickle; everything that goes wrong is an `UnreadablePackage` with its cause."""
        try:
            return PickleSerializer.loads(self.unsign(package))
        except BadSignature as error:
            raise UnreadablePackage(
                f"Package with a foreign signature ({error}). It was signed with another SECRET_KEY, or by a cluster "
                f"with another name than {self.salt!r}: give both sides the same, or put the old key into "
                "SECRET_KEY_FALLBACKS."
            ) from error
        except Exception as error:  # unpickling runs the constructors of whatever is inside
            raise UnreadablePackage(_cannot_be_unpickled(error)) from error

    def sign(self, data: bytes) -> str:
        """Turn bytes into signed text."""
        mark = ""
        if self.compress and len(smaller := zlib.compress(data)) < len(data) - 1:
            data, mark = smaller, "."
        if len(data) <= PIECE_BYTES:
            text = f"{mark}{fast_base64.encode_url(data).decode()}:{_timestamp(int(time.time()))}"
            return f"{text}:{_signature((text.encode(),), django_settings.SECRET_KEY, self.salt).decode()}"
        text = fast_base64.encode_url_text(data)
        if mark:
            text = mark + text
        text += f":{_timestamp(int(time.time()))}"  # in its place
        text += f":{_signature(fast_base64.pieces(text), django_settings.SECRET_KEY, self.salt).decode()}"
        return text

    def unsign(self, package: str | bytes) -> bytes:
        """Turn signed text back into bytes, or raise `BadSignature`."""
        signed = force_bytes(package)
        end = signed.rfind(b":")
        if end < 0:
            raise BadSignature('no ":" found in it')
        text = signed if end <= PIECE_BYTES else memoryview(signed)
        signature = signed[end + 1 :]
        for secret in (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS):
            if hmac.compare_digest(signature, _signature((text[:end],), secret, self.salt)):
                break
        else:
            raise BadSignature("its signature does not match")
        data = text[: max(signed.rfind(b":", 0, end), 0)]
        return (
            zlib.decompress(fast_base64.decode_url(data[1:]))
            if signed.startswith(b".")
            else fast_base64.decode_url(data)
        )


class PickleSerializer:
    """Objects ↔ bytes, in the newest protocol of this Python."""

    @staticmethod
    def dumps(obj: object) -> bytes:
        """Pickle; what cannot be pickled raises what pickle raises, with a note on what to do."""
        try:
            return pickling.dumps(obj)
        except Exception as error:  # pickling runs the methods of whatever is inside
            error.add_note(
                "A task is pickled to be queued. Give it functions that can be imported by name, or their dotted "
                "path, and arguments without open files, locks, connections, generators or lambdas."
            )
            raise

    @staticmethod
    def loads(data: bytes) -> Any:
        """Unpickle."""
        return pickling.loads(data)


@lru_cache(maxsize=64)
def _signer(secret: str | bytes, salt: str) -> tuple[_Hash, _Hash]:
    """Derive as `django.utils.crypto.salted_hmac` does; it depends on nothing a package says, so once is enough.

    The two halves of an HMAC (RFC 2104, 2): to copy them takes half as long as to copy what OpenSSL makes of both.
    """
    key = sha256(salt.encode() + b"signer" + force_bytes(secret)).digest().ljust(64, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in key)), sha256(bytes(byte ^ 0x5C for byte in key))


@lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return b62_encode(second)


def _signature(value: Iterable[bytes | memoryview], secret: str | bytes, salt: str) -> bytes:
    inner, outer = _signer(secret, salt)
    inner, outer = inner.copy(), outer.copy()
    for part in value:  # which may be megabytes: what is not copied saves time
        inner.update(part)
    outer.update(inner.digest())
    return fast_base64.encode_url(outer.digest())


def _cannot_be_unpickled(error: Exception) -> str:
    match error:
        case ModuleNotFoundError(name=str(module)):
            what = f"there is no module {module!r} here"
        case AttributeError() | ImportError():
            what = f"{error}"
        case _:
            what = f"{type(error).__name__}: {error}"
    return (
        f"Package that cannot be unpickled: {what}. The code that queued it is newer, older or elsewhere: deploy the "
        "code it names and requeue the package."
    )
