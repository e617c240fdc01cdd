"""Each load notices wrong answers."""

from __future__ import annotations

import aiohttp
import pytest

from feedd.drill.case import HttpLoad
from feedd.drill.http_load import AnswerError, apply_load
from feedd.exchange import Exchange


@pytest.mark.parametrize("load", [load for load in HttpLoad if load != HttpLoad.BAD_REQUESTS])
async def test_server_that_is_no_daemon_answers_wrong(load: HttpLoad) -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        with pytest.raises(AnswerError, match="404"):
            await apply_load(load, http, exchange.rest_url)


@pytest.mark.parametrize("load", HttpLoad)
async def test_nobody_is_no_answer(load: HttpLoad) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(AnswerError, match=str(load)):
            await apply_load(load, http, "http://127.0.0.1:9")
