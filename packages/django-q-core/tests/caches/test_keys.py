"""Keys in the cache are valid on all products, and safe keys are those of the public editions."""

from __future__ import annotations

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django_q.caches.keys import MAX_KEY_CHARACTERS, safe_key
from django_q.results.groups import CachedGroups
from hypothesis import given, settings
from hypothesis import strategies as st


class Strict(BaseCache):
    """Accepts the keys that memcached accepts."""

    validate_key = BaseMemcachedCache.validate_key


memcached = Strict({})
any_text = st.text() | st.text(st.characters(categories=["Cs", "Cc", "Zs", "So"])) | st.text(min_size=190, max_size=300)


@pytest.mark.parametrize("key", ["django_q:0123456789abcdef", "a:%20b:head", "x" * MAX_KEY_CHARACTERS, ""])
def test_safe_key_stays_as_it_is(key):
    assert safe_key(key) == key


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\0b", "a\x7fb", "ä", "\ud800", "x" * (MAX_KEY_CHARACTERS + 1)])
def test_unsafe_key_is_hashed(key):
    assert safe_key(key) == safe_key(key) != key
    assert safe_key(key) != safe_key(key + " ")
    memcached.validate_key(memcached.make_key(safe_key(key)))


@settings(max_examples=200, deadline=None)
@given(any_text, any_text)
def test_memcached_accepts_keys_of_any_group_and_queue(prefix, group):
    members = CachedGroups(memcached, prefix)
    for key in (safe_key(f"{prefix}:{group}"), members.head_key(group), members.place_key(group, 10**9)):
        memcached.validate_key(memcached.make_key(key))
        assert safe_key(key) == key


@settings(max_examples=200, deadline=None)
@given(any_text, any_text)
def test_different_keys_stay_different(one, other):
    assert (safe_key(one) == safe_key(other)) == (one == other)
