"""Who is let in, and what it costs the daemon to find out."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from feedd.outputs.http.auth import CHECKS_WAITING_MAX, Authenticator, AuthResult
from feedd.outputs.http.web_config import WebConfig
from tests.outputs.webs import PASSWORD, TOKEN, digest, hashed

GRANTED, DENIED, BUSY = AuthResult.GRANTED, AuthResult.DENIED, AuthResult.BUSY
TOKENS = {"other": bytes(32), "desk7": bytes.fromhex(digest())}
SLOW_COST = 10  # some 60 ms


def basic(name: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@asynccontextmanager
async def checking(config: WebConfig) -> AsyncIterator[Authenticator]:
    found = Authenticator()
    found.apply_config(config)
    try:
        yield found
    finally:
        found.stop()


def users(cost: int = 4) -> WebConfig:
    return WebConfig(users={"alice": hashed(cost=cost).encode(), "bob": hashed("hünter2", cost).encode()})


async def test_everybody_is_let_in_where_nobody_is_named() -> None:
    async with checking(WebConfig()) as found:
        assert found.challenges == []
        assert await found.check(None) is GRANTED
        assert await found.check(basic("anybody")) is GRANTED


@pytest.mark.parametrize(
    ("authorization", "verdict"),
    [
        (basic("alice"), GRANTED),
        (basic("alice").replace("Basic", "bAsIc"), GRANTED),
        (basic("bob", "hünter2"), GRANTED),
        (basic("alice", "wrong"), DENIED),
        (basic("alice", ""), DENIED),
        (basic("alice", PASSWORD + "\0"), DENIED),
        (basic("bob"), DENIED),
        (basic("carol"), DENIED),
        (basic(""), DENIED),
        (None, DENIED),
        ("", DENIED),
        ("Basic", DENIED),
        ("Basic !", DENIED),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), DENIED),
        ("Basic " + base64.b64encode(b"alice").decode(), DENIED),
        ("Basic \udcff", DENIED),
        (f"Bearer {TOKEN}", DENIED),
        ("Digest alice", DENIED),
    ],
)
async def test_password_is_checked(authorization: str | None, verdict: AuthResult) -> None:
    async with checking(users()) as found:
        assert found.challenges == ['Basic realm="feedd"']
        for _ in range(2):  # remembered or not
            assert await found.check(authorization) is verdict


@pytest.mark.parametrize(
    ("authorization", "verdict"),
    [
        (f"Bearer {TOKEN}", GRANTED),
        (f"bearer  {TOKEN} ", GRANTED),
        (f"Bearer {TOKEN[:-1]}", DENIED),
        ("Bearer ", DENIED),
        ("Bearer \udcff", DENIED),
        ("Bearer ☂", DENIED),
        (basic("alice"), DENIED),
        (None, DENIED),
    ],
)
async def test_token_is_checked(authorization: str | None, verdict: AuthResult) -> None:
    async with checking(WebConfig(tokens=TOKENS)) as found:
        assert found.challenges == ['Bearer realm="feedd"']
        assert await found.check(authorization) is verdict


async def test_either_will_do_where_both_are_known() -> None:
    async with checking(WebConfig(users=users().users, tokens=TOKENS)) as found:
        assert await found.check(basic("alice")) is GRANTED
        assert await found.check(f"Bearer {TOKEN}") is GRANTED


async def test_password_beyond_bcrypts_length_is_cut_as_other_programs_do() -> None:
    config = WebConfig(users={"alice": hashed("x" * 72).encode()})
    async with checking(config) as found:
        assert await found.check(basic("alice", "x" * 100)) is GRANTED
        assert await found.check(basic("alice", "x" * 71)) is DENIED


async def test_what_was_right_is_remembered_and_what_was_wrong_is_not() -> None:
    async with checking(users(SLOW_COST)) as found:
        assert await _seconds(found, "alice") > 0.01
        assert await _seconds(found, "alice") < 0.01
        assert await _seconds(found, "alice", "wrong") > 0.01
        assert await _seconds(found, "alice", "wrong") > 0.01
        found.apply_config(users(SLOW_COST))
        assert await _seconds(found, "alice") > 0.01


async def test_name_that_nobody_has_takes_as_long_as_one_that_somebody_has() -> None:
    async with checking(users(SLOW_COST)) as found:
        known = sorted([await _seconds(found, "alice", "wrong") for _ in range(5)])[2]
        unknown = sorted([await _seconds(found, f"carol{number}", "wrong") for number in range(5)])[2]
        assert 0.5 < unknown / known < 2.0


async def _seconds(found: Authenticator, name: str, password: str = PASSWORD) -> float:
    began = time.perf_counter()
    await found.check(basic(name, password))
    return time.perf_counter() - began


async def test_flood_of_wrong_passwords_holds_up_neither_the_loop_nor_who_is_known() -> None:
    async with checking(users(SLOW_COST)) as found:
        assert await found.check(basic("alice")) is GRANTED
        flood = [asyncio.create_task(found.check(basic("alice", f"no{number}"))) for number in range(100)]
        await asyncio.sleep(0)
        late = []
        while not all(task.done() for task in flood):
            began = time.perf_counter()
            assert await found.check(basic("alice")) is GRANTED
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - began - 0.005)
        verdicts = [task.result() for task in flood]
        assert verdicts.count(DENIED) == CHECKS_WAITING_MAX
        assert verdicts.count(BUSY) == 100 - CHECKS_WAITING_MAX
        assert sorted(late)[len(late) // 2] < 0.02


async def test_check_that_was_under_way_during_a_change_is_not_remembered() -> None:
    async with checking(users(SLOW_COST)) as found:
        under_way = asyncio.create_task(found.check(basic("alice")))
        await asyncio.sleep(0)
        found.apply_config(users())
        assert await under_way is GRANTED
        assert found._known == set()
