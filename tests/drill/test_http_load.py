"""Nuisances notice when they are answered as they should not be."""

from __future__ import annotations

import aiohttp
import pytest

from feedd.drill.case import Nuisance
from feedd.drill.http_load import AnswerError, annoy
from feedd.exchange import Exchange


@pytest.mark.parametrize("nuisance", [nuisance for nuisance in Nuisance if nuisance != Nuisance.BAD_REQUESTS])
async def test_server_that_is_no_daemon_answers_wrong(nuisance: Nuisance) -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        with pytest.raises(AnswerError, match="404"):
            await annoy(nuisance, http, exchange.rest_url)


@pytest.mark.parametrize("nuisance", Nuisance)
async def test_nobody_is_no_answer(nuisance: Nuisance) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(AnswerError, match=str(nuisance)):
            await annoy(nuisance, http, "http://127.0.0.1:9")
