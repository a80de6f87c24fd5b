from __future__ import annotations

import pytest
from django_q.humanhash import DEFAULT_HASHER, DEFAULT_WORDLIST, HumanHasher, humanize, name_of, uuid

DIGEST = "7528880a986c40e78c38115e640da2a1"


def test_word_list_is_that_of_humanhash() -> None:
    assert len(set(DEFAULT_WORDLIST)) == 256
    assert len("".join(DEFAULT_WORDLIST)) == 1506


def test_same_digest_has_the_same_words() -> None:
    assert humanize(DIGEST) == "three-georgia-xray-jig"


@pytest.mark.parametrize("digest", [DIGEST, "0" * 32, "f" * 32, "0123456789abcdef" * 2, "80" + "0" * 29 + "1"])
def test_name_of_an_id_is_its_four_words(digest: str) -> None:
    assert name_of(digest) == humanize(digest)


def test_words_and_separator_can_be_chosen() -> None:
    assert humanize(DIGEST, words=2, separator=" ").count(" ") == 1


def test_remainder_goes_to_the_last_word() -> None:
    assert DEFAULT_HASHER.compress([96, 173, 141, 13, 135, 27, 96, 149, 128, 130, 151], 4) == [205, 128, 156, 96]


def test_more_words_than_bytes_are_rejected() -> None:
    with pytest.raises(ValueError, match="fewer words"):
        humanize("ff", words=2)


def test_word_list_of_another_size_is_rejected() -> None:
    with pytest.raises(ValueError, match="256"):
        HumanHasher(["one"])


def test_new_id_has_its_words() -> None:
    words, digest = uuid(words=3)
    assert words == humanize(digest, words=3)
    assert len(digest) == 32
