"""Signs and verifies packages, cached results and statistics. Only processes with the `SECRET_KEY` can sign one."""

from __future__ import annotations

import hmac
import time
import zlib
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings as django_settings
from django.core.signing import BadSignature, b62_encode
from django.utils.encoding import force_bytes

from django_q.exceptions import UnreadablePackage
from django_q.wire import fast_base64, pickling
from django_q.wire.fast_base64 import PIECE_BYTES
from django_q.wire.package import is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash

    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage


class Codec:
    """Signs, compresses and verifies values of one kind, in exactly the format of `django.core.signing`.

    Each kind has a salt of its own, so that a value is not accepted where another kind belongs. A value has no maximum
    age: it is signed with a time, which is not checked.

    Args:
        name: the `name` of `Q_CLUSTER`, so that sites that share a broker cannot run each other's tasks.
        compress: True to compress values that become smaller.
    """

    noun: ClassVar[str]
    """Name of the kind in messages."""

    kind: ClassVar[str] = ""
    """Part of the salt. Packages have none: their salt is the name, as in the public editions."""

    def __init__(self, name: str, *, compress: bool = False) -> None:
        self.name = name
        self.salt = f"django_q:{name}:{self.kind}" if self.kind else name  # no site has such a name
        self.compress = compress

    @classmethod
    def of(cls, settings: ClusterSettings) -> Self:
        """Return the codec of a cluster."""
        return cls(settings.name, compress=settings.compress)

    def dumps(self, obj: object) -> str:
        """Pickle and sign an object; compress it if `compress` is True and it becomes smaller."""
        return self.sign(PickleSerializer.dumps(obj))

    def loads(self, package: str | bytes) -> Any:
        """Verify and unpickle a value.

        Raises:
            UnreadablePackage: the signature is foreign, or unpickling failed; it keeps the cause.
        """
        try:
            return PickleSerializer.loads(self.unsign(package))
        except BadSignature as error:
            raise UnreadablePackage(
                f"{self.noun} with a foreign signature ({error}). It was signed with another SECRET_KEY, or by a "
                f"cluster with another name than {self.name!r}: give both sides the same, or put the old key into "
                "SECRET_KEY_FALLBACKS."
            ) from error
        except Exception as error:  # unpickling runs constructors of the project
            raise UnreadablePackage(_cannot_be_unpickled(self.noun, error)) from error

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


class PackageCodec(Codec):
    """Codec of packages, which the public editions read and write, too."""

    noun = "Package"


class SeparateCodec(Codec):
    """Codec of values whose salt is separate from that of packages.

    The public editions sign all values like packages. Such a value is read, too, if its text has no separate signature.
    The reader checks that it is no package.
    """

    def __init__(self, name: str, *, compress: bool = False) -> None:
        super().__init__(name, compress=compress)
        self.packages = PackageCodec(name)

    def unsign(self, package: str | bytes) -> bytes:
        """Return the bytes of text that is signed with the separate salt, or with that of packages.

        Raises:
            BadSignature: the signature is missing or foreign.
        """
        try:
            return super().unsign(package)
        except BadSignature:
            return self.packages.unsign(package)


class ResultCodec(SeparateCodec):
    """Codec of finished tasks, for the cache, hooks and receivers."""

    noun = "Result"
    kind = "result"

    def loads(self, package: str | bytes) -> TaskPackage:
        """Verify and unpickle a finished task.

        Raises:
            UnreadablePackage: as `Codec.loads`, or the value is no finished task.
        """
        finished = super().loads(package)
        if not is_finished(finished):
            raise UnreadablePackage("A signed value that is no finished task: it was copied to the cache.")
        return finished


class StatCodec(SeparateCodec):
    """Codec of statistics, which are always compressed."""

    noun = "Statistics"
    kind = "stat"

    @classmethod
    def of(cls, settings: ClusterSettings) -> Self:
        """Return the codec of a cluster."""
        return cls(settings.name, compress=True)


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


def _cannot_be_unpickled(noun: str, error: Exception) -> str:
    match error:
        case ModuleNotFoundError(name=str(module)):
            what = f"there is no module {module!r} here"
        case AttributeError() | ImportError():
            what = f"{error}"
        case _:
            what = f"{type(error).__name__}: {error}"
    return (
        f"{noun} that cannot be unpickled: {what}. The code that signed it is newer, older or elsewhere: deploy the "
        "code it names, and requeue it if it is a package."
    )
