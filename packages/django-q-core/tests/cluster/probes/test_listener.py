"""Addresses of the probes."""

from __future__ import annotations

import pytest
from django_q.cluster.probes.listener import Address, Listener
from django_q.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8000", ("127.0.0.1", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8000", ("::1", 8000)),
    ],
)
def test_address_is_a_port_or_a_host_and_a_port(text, address):
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "http", "1:2:3", "::1:8000", "70000", "-1", "8000/", "²"])
def test_other_addresses_are_errors(text):
    with pytest.raises(ConfigurationError, match="--http"):
        Address.parse(text)


def test_unknown_host_is_an_error():
    with pytest.raises(ConfigurationError, match="cannot listen on nowhere"):
        Listener(Address("nowhere.invalid", 8000))


def test_listener_knows_its_port():
    listener = Listener(Address("127.0.0.1", 0))
    assert listener.address.port > 0
    assert str(listener.address) == f"127.0.0.1:{listener.address.port}"
    listener.close()
    listener.close()
