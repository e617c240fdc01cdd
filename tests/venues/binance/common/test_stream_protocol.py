"""What a client may say on a stream connection, and what it is answered."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.venues.binance.common.stream_protocol import (
    STREAMS_MAX,
    Answer,
    Method,
    RequestRefused,
    StreamTarget,
    Subscriber,
    parse_request,
    parse_target,
)


def make_subscriber(streams_max: int = 5) -> Subscriber:
    return Subscriber(combined=True, streams_max=streams_max)


def ask(subscriber: Subscriber, **request: Any) -> Answer:
    return subscriber.receive(orjson.dumps(request))


def error(code: int, message: str, id: Any = 1) -> Any:
    return {"error": {"code": code, "msg": message}, "id": id}


def test_subscribe_adds_streams_in_order_known_or_not() -> None:
    subscriber = make_subscriber()
    answer = ask(subscriber, method="SUBSCRIBE", params=["b@trade", "A@nonsense", "b@trade"], id=1)
    assert answer == Answer(b'{"result":null,"id":1}', are_streams_changed=True)
    listed = ask(subscriber, method="LIST_SUBSCRIPTIONS", id="two")
    assert listed == Answer(b'{"result":["b@trade","A@nonsense"],"id":"two"}')


def test_unsubscribe_takes_streams_away_and_minds_no_unknown_one() -> None:
    subscriber = make_subscriber()
    subscriber.add(["a@trade", "b@trade"])
    answer = ask(subscriber, method="UNSUBSCRIBE", params=["a@trade", "c@trade"], id=None)
    assert answer == Answer(b'{"result":null,"id":null}', are_streams_changed=True)
    assert list(subscriber.streams) == ["b@trade"]


def test_properties_are_told_and_set() -> None:
    subscriber = make_subscriber()
    assert ask(subscriber, method="GET_PROPERTY", params=["combined"], id=1).text == b'{"result":true,"id":1}'
    assert (
        ask(subscriber, method="SET_PROPERTY", params=["combined", False], id=2).text
        == b'{"result":null,"id":2}'
    )
    assert not subscriber.combined


def test_stream_too_many_is_refused_and_ends_the_connection() -> None:
    subscriber = make_subscriber(streams_max=2)
    assert ask(subscriber, method="SUBSCRIBE", params=["a@trade", "b@trade"], id=1).violation is None
    answer = ask(subscriber, method="SUBSCRIBE", params=["c@trade"], id=2)
    assert orjson.loads(answer.text) == error(4, "Too many subscriptions", 2)
    assert (answer.violation, answer.are_streams_changed) == ("Invalid request", False)


def test_same_stream_again_is_no_stream_more() -> None:
    subscriber = make_subscriber(streams_max=1)
    assert subscriber.add(["a@trade"])
    assert subscriber.add(["a@trade"])


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"method": "SET_PROPERTY", "params": ["colour", True], "id": 1}, error(0, "Unknown property")),
        (
            {"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1},
            error(1, "Invalid value type: expected Boolean"),
        ),
        (
            {"method": "SET_PROPERTY", "params": ["combined"], "id": 1},
            error(1, "Invalid value type: expected Boolean"),
        ),
        (
            {"method": "GET_PROPERTY", "params": [5], "id": 1},
            error(2, "Invalid request: property name must be a string"),
        ),
        (
            {"method": "GET_PROPERTY", "params": ["combined", True], "id": 1},
            error(2, "Invalid request: too many parameters"),
        ),
        ({"params": ["a@trade"], "id": 1}, error(2, "Invalid request: missing field `method`")),
        (
            {"method": "SUBSCRIBE", "params": "a@trade", "id": 1},
            error(2, "Invalid request: params must be a list of stream names"),
        ),
        ({"method": "SUBSCRIBE", "params": ["a b"], "id": 1}, error(2, "Invalid request: invalid stream")),
        ({"method": ["SUBSCRIBE"], "id": 1}, error(2, "Invalid request: method must be a string")),
        ([1], error(2, "Invalid request: expected an object", None)),
    ],
)
def test_wrong_request_draws_the_documented_error(request_: Any, answer: Any) -> None:
    assert orjson.loads(make_subscriber().receive(orjson.dumps(request_)).text) == answer


def test_unknown_method_draws_an_error_that_names_the_known_ones() -> None:
    answer = orjson.loads(ask(make_subscriber(), method="SHOUT", id=1).text)
    assert answer["error"]["code"] == 2
    assert answer["error"]["msg"].startswith(
        "Invalid request: unknown variant `SHOUT`, expected one of `SUBSCRIBE`"
    )


@pytest.mark.parametrize("id", [True, 1.5, 2**63, -(2**63) - 1, "x" * 37, "a b", ["1"]])
def test_wrong_request_id_is_refused(id: Any) -> None:
    text = str(id) if isinstance(id, int) and not isinstance(id, bool) else orjson.dumps(id).decode()
    answer = make_subscriber().receive(f'{{"method":"LIST_SUBSCRIPTIONS","id":{text}}}'.encode())
    assert (
        orjson.loads(answer.text)["error"]["msg"] == "Invalid request: request ID must be an unsigned integer"
    )


@pytest.mark.parametrize("id", [0, -5, 2**63 - 1, "abc123", None])
def test_request_id_is_given_back(id: Any) -> None:
    answer = ask(make_subscriber(), method="LIST_SUBSCRIPTIONS", id=id)
    assert orjson.loads(answer.text) == {"result": [], "id": id}


def test_request_can_be_refused_for_reasons_of_one_s_own() -> None:
    request = parse_request(b'{"method":"SUBSCRIBE","params":["a@trade"],"id":"mine"}')
    assert (request.method, request.names) == (Method.SUBSCRIBE, ("a@trade",))
    refused = request.refused(2, "Invalid request: invalid stream")
    assert orjson.loads(refused.answer.text) == error(2, "Invalid request: invalid stream", "mine")


def test_refusal_carries_the_request_s_id() -> None:
    with pytest.raises(RequestRefused, match="expected one of") as refused:
        parse_request(b'{"method":"SHOUT","id":7}')
    assert refused.value.request_id == 7


def test_binance_s_limit_is_the_default() -> None:
    subscriber = Subscriber(combined=False)
    assert subscriber.add(f"s{number}@trade" for number in range(STREAMS_MAX))
    assert not subscriber.add(["one@more"])


def test_method_nested_deeper_than_python_prints_is_refused() -> None:
    text = b'{"method":' + b"[" * 1000 + b"]" * 1000 + b"}"
    assert orjson.loads(make_subscriber().receive(text).text)["error"]["code"] == 2


def test_broken_json_draws_error_3_with_its_place() -> None:
    answer = make_subscriber().receive(b'{"method":')
    assert orjson.loads(answer.text) == error(3, "Invalid JSON: expected value at line 1 column 11", None)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda each: st.lists(each)).map(
    orjson.dumps
)


@given(st.binary() | JSON)
def test_any_text_is_answered(text: bytes) -> None:
    assert "error" in orjson.loads(make_subscriber().receive(text).text)


@pytest.mark.parametrize(
    ("path", "streams", "target"),
    [
        ("/ws", "", StreamTarget((), combined=False)),
        ("/ws/", "ignored@trade", StreamTarget((), combined=False)),
        ("/ws/btcusdt@trade", "", StreamTarget(("btcusdt@trade",), combined=False)),
        ("/ws/a@trade/b@trade", "", StreamTarget(("a@trade", "b@trade"), combined=False)),
        ("/stream", "", StreamTarget((), combined=True)),
        ("/stream/", "a@trade", StreamTarget(("a@trade",), combined=True)),
        ("/stream", "a@trade/b@trade/a@trade", StreamTarget(("a@trade", "b@trade"), combined=True)),
        ("/wsx", "", None),
        ("/streams", "", None),
    ],
)
def test_target_is_read_from_the_url(path: str, streams: str, target: StreamTarget | None) -> None:
    assert parse_target(path, streams) == target
