"""What an exchange sends beside plain messages, in each of the shapes that it has."""

from __future__ import annotations

from typing import Any

import pytest

from feedd.venues.binance.common.control_replies import (
    ControlReply,
    control_reply,
    is_shutdown,
    kind_of,
    text_of,
)

NOTICE = {"e": "serverShutdown", "E": 1_770_123_456_789}


@pytest.mark.parametrize(
    "content",
    [
        NOTICE,
        {"stream": "btcusdt@trade", "data": NOTICE},
        {"subscriptionId": 1, "event": NOTICE},
        {"stream": "!serverShutdown", "data": {}},
        {"stream": "!serverShutdown"},
    ],
)
def test_shutdown_is_announced_in_any_of_four_shapes(content: dict[str, Any]) -> None:
    assert is_shutdown(content)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"e": "trade"},
        {"E": "serverShutdown"},
        {"e": ["serverShutdown"]},
        {"data": "serverShutdown"},
        {"data": [NOTICE]},
        {"data": None, "event": None},
        {"data": {"data": NOTICE}},
        {"stream": "serverShutdown"},
        {"stream": ["!serverShutdown"]},
    ],
)
def test_nothing_else_is_taken_for_a_shutdown(content: dict[str, Any]) -> None:
    assert not is_shutdown(content)


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        ({"result": None, "id": 1}, ControlReply(1, None)),
        ({"result": ["btcusdt@trade"], "id": "x-1"}, ControlReply("x-1", None)),
        ({"result": None}, ControlReply(None, None)),
        ({"result": None, "id": None}, ControlReply(None, None)),
        ({"result": None, "id": [1]}, ControlReply(None, None)),
        ({"result": None, "id": 1.5}, ControlReply(None, None)),
        ({"error": None, "id": 1}, ControlReply(1, None)),
        (
            {"error": {"code": 2, "msg": "Invalid request"}, "id": 7},
            ControlReply(7, "code 2: Invalid request"),
        ),
        ({"code": 3, "msg": "Invalid JSON"}, ControlReply(None, "code 3: Invalid JSON")),
        ({"code": 3, "msg": "Invalid JSON", "id": 4}, ControlReply(4, "code 3: Invalid JSON")),
        ({"error": {"code": 2}, "id": 7}, ControlReply(7, "code 2: None")),
        ({"error": {"code": [2], "msg": {}}, "id": 7}, ControlReply(7, "code an array: an object")),
        ({"error": "no", "id": 7}, ControlReply(7, "no")),
        ({"error": ["no"], "id": 7}, ControlReply(7, "an array")),
        ({"error": False, "id": 7}, ControlReply(7, "False")),
    ],
)
def test_reply_says_which_request_it_answers_and_what_was_wrong(
    content: dict[str, Any], reply: ControlReply
) -> None:
    assert control_reply(content) == reply


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Invalid request", "Invalid request"),
        ("", ""),
        (2, "2"),
        (None, "None"),
        ({"a": 1}, "an object"),
        ([1], "an array"),
    ],
)
def test_value_is_said_as_it_is_unless_it_holds_others(value: object, text: str) -> None:
    assert text_of(value) == text


def test_value_that_is_nested_too_deeply_to_print_is_said_in_words() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert text_of(nested) == "an array"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "an object"),
        ([], "an array"),
        ("1", "a string"),
        (True, "a boolean"),
        (None, "null"),
        (1, "a number"),
        (1.5, "a number"),
    ],
)
def test_every_kind_of_json_value_has_its_word(value: object, kind: str) -> None:
    assert kind_of(value) == kind
