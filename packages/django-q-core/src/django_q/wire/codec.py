"""Signs and verifies packages. Only processes with the `SECRET_KEY` can sign one."""

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
    """Signs, compresses and verifies packages in exactly the format of `django.core.signing`.

    A package has no maximum age: it is signed with a time, which is not checked.

    Args:
        salt: the `name` of `Q_CLUSTER`, so that sites that share a broker cannot run each other's tasks.
        compress: True to compress packages that become smaller.
    """

    def __init__(self, salt: str, *, compress: bool = False) -> None:
        self.salt = salt
        self.compress = compress

    @classmethod
    def of(cls, settings: ClusterSettings) -> PackageCodec:
        """Return the codec of a cluster."""
        return cls(settings.name, compress=settings.compress)

    def dumps(self, obj: object) -> str:
        """Pickle and sign an object; compress it if `compress` is True and it becomes smaller."""
        return self.sign(PickleSerializer.dumps(obj))

    def loads(self, package: str | bytes) -> Any:
        """Verify and unpickle a package.

        Raises:
            UnreadablePackage: the signature is foreign, or unpickling failed; it keeps the cause.
        """
        try:
            return PickleSerializer.loads(self.unsign(package))
        except BadSignature as error:
            raise UnreadablePackage(
                f"Package with a foreign signature ({error}). It was signed with another SECRET_KEY, or by a cluster "
                f"with another name than {self.salt!r}: give both sides the same, or put the old key into "
                "SECRET_KEY_FALLBACKS."
            ) from error
        except Exception as error:  # unpickling runs constructors of the project
            raise UnreadablePackage(_cannot_be_unpickled(error)) from error

    def sign(self, data: bytes) -> str:
        """Return bytes as signed text."""
        mark = ""
        if self.compress and len(smaller := zlib.compress(data)) < len(data) - 1:
            data, mark = smaller, "."
        if len(data) <= PIECE_BYTES:
            text = f"{mark}{fast_base64.encode_url(data).decode()}:{_timestamp(int(time.time()))}"
            return f"{text}:{_signature((text.encode(),), django_settings.SECRET_KEY, self.salt).decode()}"
        text = fast_base64.encode_url_text(data)
        if mark:
            text = mark + text
        text += f":{_timestamp(int(time.time()))}"  # CPython extends the text in place, without a copy
        text += f":{_signature(fast_base64.pieces(text), django_settings.SECRET_KEY, self.salt).decode()}"
        return text

    def unsign(self, package: str | bytes) -> bytes:
        """Return the bytes of signed text.

        Raises:
            BadSignature: the signature is missing or foreign.
        """
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
    """Pickles and unpickles objects, with the newest protocol of this Python."""

    @staticmethod
    def dumps(obj: object) -> bytes:
        """Pickle an object.

        Raises:
            Exception: raised by pickle, or by code of the object; a note tells what to do.
        """
        try:
            return pickling.dumps(obj)
        except Exception as error:  # pickling runs methods of the project
            error.add_note(
                "A task is pickled to be queued. Give it functions that can be imported by name, or their dotted "
                "path, and arguments without open files, locks, connections, generators or lambdas."
            )
            raise

    @staticmethod
    def loads(data: bytes) -> Any:
        """Unpickle an object."""
        return pickling.loads(data)


@lru_cache(maxsize=64)
def _signer(secret: str | bytes, salt: str) -> tuple[_Hash, _Hash]:
    """Return the inner and the outer hash of an HMAC (RFC 2104, 2), with the key of `django.utils.crypto.salted_hmac`.

    The key is the same for all packages, so it is cached. To copy two hashes takes half as long as to copy an HMAC
    object of OpenSSL.
    """
    key = sha256(salt.encode() + b"signer" + force_bytes(secret)).digest().ljust(64, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in key)), sha256(bytes(byte ^ 0x5C for byte in key))


@lru_cache(maxsize=1)
def _timestamp(second: int) -> str:
    return b62_encode(second)


def _signature(value: Iterable[bytes | memoryview], secret: str | bytes, salt: str) -> bytes:
    inner, outer = _signer(secret, salt)
    inner, outer = inner.copy(), outer.copy()
    for part in value:  # the parts may have megabytes, so they are not joined
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
