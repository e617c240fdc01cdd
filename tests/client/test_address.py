"""Addresses: what may be given, and what is never shown."""

from __future__ import annotations

import ssl

import pytest

import feedd
from feedd.client.address import Address, new_backoff


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


def test_client_that_fails_again_and_again_waits_from_a_tenth_of_a_second_to_five() -> None:
    backoff = new_backoff()
    delays = [backoff.delay(chance=1.0) for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_one_good_message_makes_the_delays_begin_anew() -> None:
    backoff = new_backoff()
    for _ in range(8):
        backoff.delay(chance=1.0)
    backoff.connection_ended(good_for=0.0)
    assert backoff.delay(chance=1.0) == 0.1
