from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

import pytest
from django.core import signing
from django_q.wire import fast_base64
from django_q.wire.fast_base64 import PIECE_BYTES, decode_url, encode, encode_url, encode_url_text, pieces

PIECES = [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1]
SIZES = [0, 1, 2, 3, 250, *PIECES, 1_000_001]


@pytest.fixture(params=["pybase64", "Python"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(fast_base64, "pybase64", None)
    elif fast_base64.pybase64 is None:
        pytest.skip("pybase64 is not installed: django-q-core[fast]")


@pytest.fixture(params=SIZES)
def data(request: pytest.FixtureRequest) -> bytes:
    return os.urandom(request.param)


def test_text_is_that_of_python(data: bytes) -> None:
    assert encode(data) == b64encode(data).decode()


def test_text_for_urls_is_that_of_django(data: bytes) -> None:
    assert encode_url(data) == signing.b64_encode(data)
    assert encode_url_text(data) == signing.b64_encode(data).decode()


def test_pieces_are_the_whole_text(data: bytes) -> None:
    assert b"".join(pieces(data.hex())) == data.hex().encode()


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_text_for_urls_is_read(data: bytes, kind: Any) -> None:
    assert decode_url(kind(signing.b64_encode(data))) == data


@pytest.mark.filterwarnings("ignore:invalid characters:DeprecationWarning")  # pybase64 will refuse it: Python reads it
def test_text_in_the_standard_alphabet_is_read(data: bytes) -> None:
    assert decode_url(b64encode(data).rstrip(b"=")) == data


@pytest.mark.parametrize("text", [b"A", b"A" * (2 * PIECE_BYTES + 1)], ids=["short", "long"])
def test_truncated_text_is_rejected(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_url(text)
