"""Fetches over REST what live streams have skipped: one worker for the whole process, one request at a time.

It hands on only what the stream itself has not brought meanwhile, and says in the log which ids are lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp

from feedd.core.backfill_queue import BackfillTiming, Backlog, HistoryPage, Job
from feedd.core.budgets import ConnectBudget, WeightBudget
from feedd.core.stream_state import StreamState
from feedd.errors import DecodeError, FeeddError, UnavailableError
from feedd.logs import fields
from feedd.sources.rest.client import RestClient
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.venue import History, Venue

log = logging.getLogger(__name__)

TURN: Final = 64
"""How many messages are handed on before everything else has its turn: less than a millisecond's work."""
_PART: Final = "backfill"
"""What the symbol's state knows a bug of the worker by."""
STEP_SECONDS: Final = 1.0
"""How often the worker looks around while something is missing, and may write to the log."""


class UnusableAnswer(FeeddError):
    """The exchange's answer is of no use, and asking again would change nothing."""


class Backfill:
    """The worker. It fetches for nobody until `apply_settings` says for whom."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        connects: ConnectBudget,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        *,
        timing: BackfillTiming | None = None,
        weights: WeightBudget | None = None,
    ) -> None:
        """Prepare the worker. `weights` is the venue's share, unless another one is given."""
        self._timing = BackfillTiming() if timing is None else timing
        self._http = RestClient(http, connects, monotonic)
        self._connects = connects
        self._monotonic = monotonic
        self._chance = chance
        self._is_weight_given = weights is not None
        self._weights = WeightBudget.under(0) if weights is None else weights
        self._backlog = Backlog(self._timing)
        self._venue: Venue | None = None
        self._pipelines: Mapping[str, SymbolPipeline] = {}
        self._wake = asyncio.Event()
        self._report_at = 0.0

    def apply_settings(self, venue: Venue | None, pipelines: Mapping[str, SymbolPipeline]) -> None:
        """Fetch from that venue what these symbols miss; nothing at all where it is None."""
        if venue is not None and not self._is_weight_given:
            self._weights.apply_share(venue.rules.weight_per_minute)
        self._venue = venue
        self._pipelines = dict(pipelines)
        stream_states = {
            stream_state
            for pipeline in pipelines.values()
            for stream_state in pipeline.symbol_state.streams.values()
            if stream_state.stream.has_history
        }
        for stream_state in stream_states:
            stream_state.sequence.ledger.fetch(venue is not None)
        for job in self._backlog:
            if venue is None or job.stream_state not in stream_states:
                job.stream_state.sequence.ledger.give_up("it is not fetched any more")
        self._report()
        self._wake.set()

    def note(self, stream_state: StreamState) -> None:
        """Fetch what that stream misses."""
        self._backlog.note(stream_state, self._monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            self._wake.clear()
            now = self._monotonic()
            self._settle(now)
            job = self._backlog.next_job()
            wait = STEP_SECONDS if job is None else self._wait(job, now)
            if job is not None and wait == 0.0:
                await self._serve(job)
            else:
                await self._sleep(min(wait, STEP_SECONDS) if self._backlog else None)

    def _settle(self, now: float) -> None:
        for job in self._backlog:
            job.lose_patience(now)
        if now >= self._report_at:
            self._report_at = now + STEP_SECONDS
            self._report()

    def _report(self) -> None:
        """Say what is lost and what was found, and forget those that miss nothing more."""
        for job in self._backlog:
            for loss in job.stream_state.sequence.ledger.take_losses():
                log.warning(
                    "missed messages are lost",
                    extra=fields(
                        **_names(job.stream_state),
                        first=loss.first,
                        last=loss.last,
                        messages=loss.ids,
                        why=loss.why,
                    ),
                )
            if job.is_done and job.fetched:
                log.info(
                    "missed messages were fetched",
                    extra=fields(**_names(job.stream_state), messages=job.fetched),
                )
        self._backlog.drop(job for job in self._backlog if job.is_done)

    def _wait(self, job: Job, now: float) -> float:
        """Return the seconds until the job may ask; 0 if it may now, which is then counted."""
        wait = max(job.due_at - now, self._connects.hold_left(now))
        return wait if wait > 0.0 else self._weights.acquire(self._history(job).weight, now)

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _serve(self, job: Job) -> None:
        pipeline = self._pipelines[job.stream_state.symbol]
        try:
            await self._fetch(job, job.page(self._history(job).page_max), pipeline)
        except Exception:
            # As wherever a symbol is handled: a bug halts it, and it begins anew after a while.
            pipeline.failed(_PART)
            job.stream_state.sequence.ledger.give_up("a bug was met")
            await asyncio.sleep(self._timing.after_bug)
            if self._pipelines.get(job.stream_state.symbol) is pipeline:
                pipeline.rebuilt(_PART)

    async def _fetch(self, job: Job, page: HistoryPage, pipeline: SymbolPipeline) -> None:
        try:
            history = self._history(job)
            found = await self._ask(history, job.stream_state, page)
        except UnavailableError as error:
            if self._is_wanted(job, page):
                job.failed(page, str(error), self._monotonic(), self._chance())
        except UnusableAnswer as error:
            if self._is_wanted(job, page):
                job.give_up(page, str(error), self._monotonic())
        else:
            await self._hand_on(found, history, job, page, pipeline)

    def _is_wanted(self, job: Job, page: HistoryPage) -> bool:
        """Tell whether anybody still waits for the answer: much may happen until it comes."""
        return job in self._backlog and job.is_current(page)

    def _history(self, job: Job) -> History:
        assert self._venue is not None, "without a venue nothing is fetched"
        return self._venue.histories[job.stream_state.stream.kind]

    async def _ask(self, history: History, stream_state: StreamState, page: HistoryPage) -> Sequence[Any]:
        """Return what the exchange knows of these ids. Raises UnavailableError, UnusableAnswer."""
        assert self._venue is not None, "without a venue nothing is fetched"
        url = self._venue.rest_url + history.path
        question = history.query(stream_state.symbol, page.first, page.count)
        async with self._http.get(url, params=question) as response:
            body = await response.read()
        self._note_used(response)
        if response.status != 200:
            raise self._failure(response)
        try:
            return history.decode_page(body, page.first)
        except DecodeError as error:
            raise UnusableAnswer(f"{url}: the answer can't be trusted: {error.detail}") from error

    def _note_used(self, response: aiohttp.ClientResponse) -> None:
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isascii() and used.isdigit() and len(used) < 10:
            self._weights.note_used(int(used), self._monotonic())

    def _failure(self, response: aiohttp.ClientResponse) -> UnavailableError | UnusableAnswer:
        """Say what an answer without trades means: it may be another one later, or never."""
        text = f"{response.url}: {response.status} {response.reason}"
        is_pausing = self._connects.hold_left(self._monotonic()) > 0.0
        return UnavailableError(text) if is_pausing or response.status >= 500 else UnusableAnswer(text)

    async def _hand_on(
        self, found: Sequence[Any], history: History, job: Job, page: HistoryPage, pipeline: SymbolPipeline
    ) -> None:
        stream_state = job.stream_state
        for number, old in enumerate(found, 1):
            if not self._is_wanted(job, page):
                return
            if stream_state.sequence.ledger.fetched(old.number):
                job.found()
                pipeline.accept_backfill(
                    stream_state, history.frame_of(stream_state.wire_name, stream_state.symbol, old)
                )
            if number % TURN == 0:
                await asyncio.sleep(0)
        if self._is_wanted(job, page):
            newest = found[-1].number if found else None
            job.answered(page, newest, self._monotonic(), self._chance())


def _names(stream_state: StreamState) -> dict[str, str]:
    return {"symbol": stream_state.symbol, "stream": stream_state.stream.name}
