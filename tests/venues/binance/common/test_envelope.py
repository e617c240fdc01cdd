"""The two forms of a message: not a byte of the payload changes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.venues.binance.common.envelope import combined_form, raw_form

NAME = "btcusdt@trade"
PAYLOAD = b'{"e":"trade","E":1795000000123, "s":"BTCUSDT","p":"1.2300","\\u006d":true}'
COMBINED = b'{"stream":"btcusdt@trade","data":' + PAYLOAD + b"}"


def test_envelope_of_binance_stays_as_it_is() -> None:
    assert combined_form(NAME, COMBINED) is COMBINED
    assert raw_form(COMBINED) == PAYLOAD


@pytest.mark.parametrize(
    "frame",
    [
        b'{"data":' + PAYLOAD + b',"stream":"btcusdt@trade"}',
        b' { "stream" : "btcusdt@trade" , "data" :' + PAYLOAD + b' , "extra" : [1] } ',
        b'{"stream":"btcusdt@trade","source":"static","data":' + PAYLOAD + b"}",
    ],
)
def test_other_envelopes_are_envelopes_too(frame: bytes) -> None:
    assert combined_form(NAME, frame) is frame
    assert raw_form(frame).strip() == PAYLOAD


def test_payload_without_an_envelope_gets_one() -> None:
    assert raw_form(PAYLOAD) is PAYLOAD
    assert combined_form(NAME, PAYLOAD) == COMBINED


@given(st.dictionaries(st.text().filter(lambda key: key != "data"), st.text() | st.lists(st.booleans())))
def test_any_payload_comes_out_as_it_went_in(payload: dict[str, object]) -> None:
    text = orjson.dumps(payload)
    assert raw_form(combined_form(NAME, text)) == text
