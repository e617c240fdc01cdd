"""The values that every floor shares: what they can do, and that their words are promises."""

from __future__ import annotations

import inspect
from enum import StrEnum

import pytest

from feedd import model
from feedd.config.keys import KEYS_BY_NAME
from feedd.model import Listen, RotateWindow

ENUMS = [kind for _, kind in inspect.getmembers(model, inspect.isclass) if issubclass(kind, StrEnum)]


@pytest.mark.parametrize("kind", [kind for kind in ENUMS if kind is not StrEnum])
def test_a_word_is_its_name_in_small_letters(kind: type[StrEnum]) -> None:
    assert [member.value.replace("-", "_") for member in kind] == [member.name.lower() for member in kind]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, is_loopback: bool) -> None:
    assert Listen(host, 9745).is_loopback is is_loopback


def test_listen_is_shown_as_it_is_written() -> None:
    assert (str(Listen("::1", 1)), str(Listen("localhost", 2))) == ("[::1]:1", "localhost:2")


@pytest.mark.parametrize(
    ("window", "time_of_day", "is_within"),
    [
        ("02:00-03:00", "01:59:59", False),
        ("02:00-03:00", "02:00:00", True),
        ("02:00-03:00", "02:59:59", True),
        ("02:00-03:00", "03:00:00", False),
        ("23:30-00:30", "23:29:59", False),
        ("23:30-00:30", "23:30:00", True),
        ("23:30-00:30", "00:00:00", True),
        ("23:30-00:30", "00:29:59", True),
        ("23:30-00:30", "00:30:00", False),
        ("23:00-00:00", "23:59:59", True),
        ("23:00-00:00", "00:00:00", False),
    ],
)
def test_rotate_window_contains(window: str, time_of_day: str, is_within: bool) -> None:
    parsed = KEYS_BY_NAME["FEEDD_ROTATE_WINDOW"].parse(window)
    assert isinstance(parsed, RotateWindow)
    assert str(parsed) == window
    hours, minutes, seconds = map(int, time_of_day.split(":"))
    days = 20_000 * 86_400
    assert parsed.contains(days + hours * 3600 + minutes * 60 + seconds) is is_within
