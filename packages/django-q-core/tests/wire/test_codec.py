from __future__ import annotations

import pickle
import random
from unittest.mock import patch

import pytest
from django.core import signing
from django_q.exceptions import UnreadablePackage
from django_q.settings import ClusterSettings
from django_q.signing import BadSignature, SignedPackage
from django_q.status import Stat
from django_q.wire.codec import Codec, PackageCodec, PickleSerializer, ResultCodec, StatCodec

PACKAGE = {"id": "f" * 32, "name": "alpha-beta-gamma-delta", "func": "math.copysign", "args": (2, -2), "kwargs": {}}
RANDOM = random.Random(1)
VERY_LONG = [PACKAGE | {"args": (RANDOM.randbytes(size),)} for size in (48_000, 144_000, 200_001, 1_000_001)]
FINISHED = PACKAGE | {"started": None, "stopped": None, "success": True, "result": -2.0}
LONG = PACKAGE | {"args": ("long " * 1000,)}


@pytest.fixture
def codec() -> PackageCodec:
    return PackageCodec("default")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "package",
    [PACKAGE, LONG, None, b"\xff", "Grüße 🚀", *VERY_LONG, *(b"x" * size for size in range(95_960, 96_005))],
    ids=lambda package: str(len(repr(package))),
)
def test_signed_text_equals_that_of_django(package: object, compress: bool) -> None:
    codec = PackageCodec("a name", compress=compress)
    with patch("time.time", return_value=1_700_000_000.9):
        ours = codec.dumps(package)
        theirs = signing.dumps(package, salt="a name", serializer=PickleSerializer, compress=compress)
    assert ours == theirs


@pytest.mark.parametrize("package", [LONG, *VERY_LONG], ids=lambda package: str(len(package["args"][0])))
@pytest.mark.parametrize("compress", [False, True])
def test_django_reads_text_of_the_codec(compress: bool, package: dict[str, object]) -> None:
    text = PackageCodec("a name", compress=compress).dumps(package)
    assert signing.loads(text, salt="a name", serializer=PickleSerializer) == package


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("package", [LONG, *VERY_LONG], ids=lambda package: str(len(package["args"][0])))
def test_codec_reads_text_of_django(codec: PackageCodec, compress: bool, package: dict[str, object]) -> None:
    text = signing.dumps(package, salt="default", serializer=PickleSerializer, compress=compress)
    assert codec.loads(text) == package


def test_bytes_are_read_like_text(codec: PackageCodec) -> None:
    assert codec.loads(codec.dumps(PACKAGE).encode()) == PACKAGE


def test_compressed_is_kept_only_if_smaller() -> None:
    codec = PackageCodec("default", compress=True)
    assert not codec.dumps(b"\x00\xff").startswith(".")
    assert codec.dumps(LONG).startswith(".")


def test_package_has_no_maximum_age(codec: PackageCodec) -> None:
    with patch("time.time", return_value=0):
        text = codec.dumps(PACKAGE)
    assert codec.loads(text) == PACKAGE


def test_secret_key_is_read_when_it_is_needed(codec: PackageCodec, settings) -> None:
    settings.SECRET_KEY = "first"
    text = codec.dumps(PACKAGE)
    settings.SECRET_KEY = "second"
    with pytest.raises(UnreadablePackage):
        codec.loads(text)


def test_fallback_keys_are_honoured(codec: PackageCodec, settings) -> None:
    settings.SECRET_KEY = "old"
    text = codec.dumps(PACKAGE)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["older", "old"]
    assert codec.loads(text) == PACKAGE
    assert signing.loads(codec.dumps(1), key="new", salt="default", serializer=PickleSerializer, fallback_keys=[]) == 1


def test_foreign_salt_is_unreadable_with_a_remedy(codec: PackageCodec) -> None:
    with pytest.raises(UnreadablePackage, match=r"another name than 'default'.*SECRET_KEY_FALLBACKS") as caught:
        codec.loads(PackageCodec("other").dumps(PACKAGE))
    assert isinstance(caught.value.__cause__, BadSignature)


@pytest.mark.parametrize("text", ["", "no colon", "a:b:c", b"\xff\xfe:1:2", ":::", None, "ü:1:2"])
def test_nonsense_is_unreadable(codec: PackageCodec, text: str | bytes) -> None:
    with pytest.raises(UnreadablePackage):
        codec.loads(text)


def test_changed_text_is_unreadable(codec: PackageCodec) -> None:
    with pytest.raises(UnreadablePackage):
        codec.loads("A" + codec.dumps(PACKAGE)[1:])


@pytest.mark.parametrize(
    ("data", "sentence", "cause"),
    [
        (b"cno_such_module\nthing\n.", "there is no module 'no_such_module'", ModuleNotFoundError),
        (b"cmath\nno_such_function\n.", "no_such_function", AttributeError),
        (b"cmath\nfloor\n(S'text'\ntR.", "TypeError: must be real number", TypeError),
        (b"", "EOFError", EOFError),
        (b"\x00", "UnpicklingError", pickle.UnpicklingError),
    ],
    ids=["module", "attribute", "constructor", "empty", "not a pickle"],
)
def test_invalid_pickle_is_unreadable(codec: PackageCodec, data: bytes, sentence: str, cause: type) -> None:
    with pytest.raises(UnreadablePackage, match=sentence) as caught:
        codec.loads(codec.sign(data))
    assert isinstance(caught.value.__cause__, cause)


def test_signed_but_not_base64_is_unreadable(codec: PackageCodec) -> None:
    with pytest.raises(UnreadablePackage):
        codec.loads(signing.TimestampSigner(salt="default").sign(".AAAA"))


def test_pickling_error_has_a_note(codec: PackageCodec) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)) as caught:
        codec.dumps(lambda: None)
    assert "imported by name" in caught.value.__notes__[0]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", [PackageCodec, ResultCodec])
def test_codec_of_a_cluster_has_its_name_and_compression(kind: type[Codec], compress: bool) -> None:
    codec = kind.of(ClusterSettings(name="site", compress=compress))
    assert type(codec) is kind
    assert (codec.name, codec.compress) == ("site", compress)


# kinds

KINDS = [(PackageCodec, PACKAGE), (ResultCodec, FINISHED), (StatCodec, [1])]
SEPARATE = KINDS[1:]


@pytest.mark.parametrize(
    ("kind", "salt"),
    [(PackageCodec, "site"), (ResultCodec, "django_q:site:result"), (StatCodec, "django_q:site:stat")],
)
def test_each_kind_is_signed_with_its_own_salt(kind: type[Codec], salt: str) -> None:
    text = kind("site").dumps(FINISHED)
    assert signing.loads(text, salt=salt, serializer=PickleSerializer) == FINISHED


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_each_kind_reads_what_it_has_signed(kind: type[Codec], value: object) -> None:
    assert kind("site").loads(kind("site").dumps(value)) == value


@pytest.mark.parametrize(
    ("signer", "reader"),
    [(ResultCodec, PackageCodec), (StatCodec, PackageCodec), (ResultCodec, StatCodec), (StatCodec, ResultCodec)],
)
def test_value_of_another_kind_has_a_bad_signature(signer: type[Codec], reader: type[Codec]) -> None:
    with pytest.raises(UnreadablePackage, match=f"^{reader.noun} with a foreign signature") as caught:
        reader("site").loads(signer("site").dumps(FINISHED))
    assert isinstance(caught.value.__cause__, BadSignature)


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("name", ["another", "django_q:site", "site:result", "django_q:site:result:result"])
def test_value_of_another_site_has_a_bad_signature(kind: type[Codec], value: object, name: str) -> None:
    with pytest.raises(UnreadablePackage, match="another name than 'site'"):
        kind("site").loads(kind(name).dumps(value))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("kind", "value"), SEPARATE)
def test_value_with_the_salt_of_packages_is_read(kind: type[Codec], value: object, compress: bool) -> None:
    """The public editions sign all kinds with it."""
    assert kind("site").loads(PackageCodec("site", compress=compress).dumps(value)) == value


@pytest.mark.parametrize("signer", [PackageCodec, ResultCodec])
@pytest.mark.parametrize("value", [PACKAGE, [1], None, "text", {}, PACKAGE | {"stopped": None}], ids=str)
def test_only_a_finished_task_is_a_result(signer: type[Codec], value: object) -> None:
    with pytest.raises(UnreadablePackage, match="no finished task"):
        ResultCodec("site").loads(signer("site").dumps(value))


@pytest.mark.parametrize("signer", [PackageCodec, None], ids=["as packages", "separate"])
@pytest.mark.parametrize(("kind", "value"), SEPARATE)
def test_fallback_keys_are_honoured_for_each_kind(kind, value, signer, settings) -> None:
    settings.SECRET_KEY = "old"
    text = (signer or kind)("site").dumps(value)
    settings.SECRET_KEY = "new"
    with pytest.raises(UnreadablePackage):
        kind("site").loads(text)
    settings.SECRET_KEY_FALLBACKS = ["older", "old"]
    assert kind("site").loads(text) == value


@pytest.mark.parametrize("text", ["", "no colon", "a:b:c", b"\xff\xfe:1:2", ":::", None, "ü:1:2"])
@pytest.mark.parametrize("kind", [ResultCodec, StatCodec])
def test_nonsense_is_unreadable_for_each_kind(kind: type[Codec], text: str | bytes) -> None:
    with pytest.raises(UnreadablePackage, match=f"^{kind.noun}"):
        kind("site").loads(text)


def test_statistics_are_always_compressed() -> None:
    codec = StatCodec.of(ClusterSettings(name="site", compress=False))
    text = codec.dumps(Stat(1, "one"))
    assert text.startswith(".")
    assert codec.loads(text).cluster_id == "one"


def test_signed_package_follows_the_settings(settings) -> None:
    settings.Q_CLUSTER = {"name": "site", "compress": True}
    text = SignedPackage.dumps(LONG)
    assert text.startswith(".")
    assert PackageCodec("site").loads(text) == LONG
    assert not SignedPackage.dumps(LONG, compressed=False).startswith(".")


def test_signed_package_raises_the_plain_errors(settings) -> None:
    settings.Q_CLUSTER = {"name": "site"}
    with pytest.raises(BadSignature):
        SignedPackage.loads(PackageCodec("other").dumps(1))
    with pytest.raises(ModuleNotFoundError):
        SignedPackage.loads(PackageCodec("site").sign(b"cno_such_module\nthing\n."))


def test_old_core_signing_path_is_djangos() -> None:
    from django_q import core_signing

    assert core_signing.loads(core_signing.dumps([1], salt="s"), salt="s") == [1]
    assert core_signing.TimestampSigner(salt="s").unsign(core_signing.TimestampSigner(salt="s").sign("x")) == "x"
