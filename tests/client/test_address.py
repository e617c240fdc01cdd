"""Addresses: what may be given, and what is never shown."""

from __future__ import annotations

import random
import ssl

import pytest

import feedd
from feedd.client.address import Address, Pauses


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:9745", "http://127.0.0.1:9745"),
        ("ws://127.0.0.1:9745/", "http://127.0.0.1:9745/"),
        ("wss://feedd.example", "https://feedd.example"),
        ("https://[::1]:9745/desk7/", "https://[::1]:9745/desk7/"),
    ],
)
def test_address_is_read(given: str, url: str) -> None:
    address = Address.parse(given)
    assert str(address) == url
    assert address.headers == {"User-Agent": f"feedd-client/{feedd.__version__}"}


@pytest.mark.parametrize("given", ["", "127.0.0.1:9745", "ftp://feedd", "http://", "http:///stream"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"expected http\(s\)://host:port"):
        Address.parse(given)


def test_credentials_become_a_header_and_are_shown_nowhere() -> None:
    address = Address.parse("https://desk:p%40ss@feedd.example:9745", {"X-Desk": "7"})
    assert address.headers["Authorization"] == "Basic ZGVzazpwQHNz"
    assert address.headers["X-Desk"] == "7"
    assert Address.parse("http://feedd", {"User-Agent": "me"}).headers == {"User-Agent": "me"}
    for text in (str(address), repr(address)):
        assert "desk" not in text
        assert "ZGVza" not in text
    with pytest.raises(ValueError) as refused:
        Address.parse("ftp://desk:secret@feedd")
    assert "secret" not in str(refused.value)


def test_tls_context_is_used_where_it_is_given() -> None:
    context = ssl.create_default_context()
    assert Address.parse("https://feedd", tls=context).tls is context
    assert Address.parse("https://feedd").tls is True


def test_pauses_grow_to_a_bound_and_begin_anew() -> None:
    random.seed(1)
    pauses = Pauses()
    first = [pauses.next() for _ in range(10)]
    assert 0.05 <= first[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in first[6:])
    pauses.reset()
    assert pauses.next() <= 0.1
