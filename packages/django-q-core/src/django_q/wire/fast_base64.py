"""Base64, as fast as it can be had here.

For a megabyte Python takes 1 ms one way and 2 ms back, with the alphabet of URLs 0.6 ms more: longer than all else that
happens to a package. pybase64, which django-q-core[fast] installs, takes a twentieth.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

pybase64: Any = import_module("pybase64") if find_spec("pybase64") else None

PIECE_BYTES = 48_000
"""Bytes that are encoded at a time where it is done in pieces: whole threes of them."""

TO_URL_ALPHABET, TO_STANDARD_ALPHABET = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> str:
    """The text of data, in the standard alphabet."""
    if pybase64 is not None and len(data) > PIECE_BYTES:
        return pybase64.b64encode_as_string(data)
    return b2a_base64(data, newline=False).decode()


def encode_url(data: bytes | memoryview) -> bytes:
    """The text of data in the alphabet of URLs, without padding."""
    return b2a_base64(data, newline=False).translate(TO_URL_ALPHABET).rstrip(b"=")


def encode_url_text(data: bytes) -> str:
    """The same of megabytes: into the text at once, since for the system to find memory takes longest."""
    view = memoryview(data)
    if pybase64 is None:
        return "".join(
            encode_url(view[start : start + PIECE_BYTES]).decode() for start in range(0, len(data), PIECE_BYTES)
        )
    threes = len(data) // 3 * 3  # what is behind them is padded, and a text is copied to strip it
    text: str = pybase64.b64encode_as_string(view[:threes], altchars=b"-_")
    text += encode_url(view[threes:]).decode()
    return text


def pieces(text: str) -> Iterator[bytes]:
    """A long text of ASCII as bytes, a little at a time."""
    return (text[start : start + PIECE_BYTES].encode() for start in range(0, len(text), PIECE_BYTES))


def decode_url(text: bytes | memoryview) -> bytes:
    """The data of a text in either alphabet, without padding.

    Raises:
        ValueError: it is no such text.
    """
    padded = b"".join((text, b"=" * (-len(text) % 4)))
    if pybase64 is not None and len(text) > PIECE_BYTES:
        with suppress(ValueError):  # it is hardly ever anything else than what every edition writes
            return pybase64.b64decode(padded, altchars=b"-_", validate=True)
    return a2b_base64(padded.translate(TO_STANDARD_ALPHABET))
