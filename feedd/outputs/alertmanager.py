"""Posts halts to Alertmanager at once, without waiting for Prometheus to scrape.

What is posted is state, not events: which halts there are, again and again, until Alertmanager has taken
it. An alert carries exactly the labels that alerts/feedd.rules.yaml gives it, so that Prometheus, which
notices the same halt some seconds later, adds to it rather than paging a second time. Where Alertmanager
can't be reached, only the newest state is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from feedd._version import __version__
from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolState
from feedd.errors import UnavailableError
from feedd.logs import fields
from feedd.model import Reason, Source
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.json_views import rfc3339
from feedd.outputs.output import Output, Phase
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.samples import Metric, single

log = logging.getLogger(__name__)

ALERTS_IN_A_POST: Final = 256
"""About 100 kB. The event loop writes it in less than a millisecond."""

_BODY_CHARACTERS = 200

_NOT_PAGED: Final = frozenset({Reason.STARTING, Reason.STATIC_SOURCE})
"""A start takes a second, and a longer one is the rules' business; static data has an alert of its own."""
_EVERY_SYMBOL: Final = {
    Reason.KILL_SWITCH: (
        "FeeddKillSwitch",
        "The kill switch is on; trading is halted in every symbol.",
        "FLAG_TRADING_HALTED is set, or is not a clear no. It stays until a person takes it back.",
    ),
    Reason.FLAGS_UNREADABLE: (
        "FeeddFlagsUnreadable",
        "The env-file can't be read; trading is halted in every symbol.",
        "Whether the kill switch is on is unknown, which counts as on.",
    ),
}
"""One alert for the whole daemon: its name, summary and description."""


@dataclass(frozen=True, slots=True)
class PagerTiming:
    """When what is posted, in seconds."""

    resend: float = 30.0
    """Alertmanager forgets all alerts when it restarts: this is how long a halt may be unknown to it then.
    It is also how often the way there is tried while there is nothing to tell."""
    valid: float = 120.0
    """A halt ends by itself once its daemon has been silent for so long, which is four times `resend`; by
    then Prometheus has paged for it."""
    end_after: float = 15.0
    """The end is told only when Prometheus has seen it too, at a scrape and a look every 5 s: were it told
    at once, Prometheus could raise the alert anew from what it scraped before. What halts anew meanwhile is
    the same alert."""
    timeout: float = 3.0
    """How long Alertmanager may take to answer."""
    longest_pause: float = 2.0
    """Between two attempts, however many have failed."""


@dataclass(frozen=True, slots=True)
class Halt:
    """What one alert is about. `symbol` is None where the reason holds for all of them."""

    reason: Reason
    symbol: str | None

    def labels(self) -> dict[str, str]:
        """Return the labels that make it the same alert as Prometheus's."""
        labels = {"alertname": self._texts()[0], "severity": "critical", "reason": str(self.reason)}
        return labels if self.symbol is None else labels | {"symbol": self.symbol}

    def annotations(self, runbook_url: str) -> dict[str, str]:
        """Return what a person reads."""
        name, summary, description = self._texts()
        return {
            "summary": summary,
            "description": description,
            "runbook_url": f"{runbook_url}#{name.lower()}",
        }

    def _texts(self) -> tuple[str, str, str]:
        return _EVERY_SYMBOL.get(self.reason) or (
            "FeeddTradingHalted",
            "Trading is halted in a symbol, by feedd itself.",
            f"{self.symbol} is halted, reason {self.reason}.",
        )


@dataclass(slots=True, eq=False)
class _Alert:
    """One alert's state: here, and as Alertmanager was last told."""

    halt: Halt
    starts_at: float
    """Wall clock."""
    timing: PagerTiming
    ended: ClockReading | None = None
    posted_at: float | None = None
    """When Alertmanager last took it as firing (monotonic); None if it hasn't."""

    def begin(self) -> None:
        """Note that it halts; what had just ended goes on."""
        self.ended = None

    def end(self, at: ClockReading) -> None:
        """Note when it ended, unless that is known."""
        if self.ended is None:
            self.ended = at

    def posted(self, now: ClockReading, as_over: bool) -> bool:
        """Note what Alertmanager has taken. Returns whether there is nothing more to tell."""
        if as_over and self.ended is not None:
            return True
        self.posted_at = (
            None if as_over else now.monotonic
        )  # None: it halted anew while its end was on the way
        return False

    def is_over(self, now: ClockReading) -> bool:
        """Say whether its end is to be posted, or would be if Alertmanager had ever had it."""
        return self.ended is not None and now.monotonic >= self.ended.monotonic + self.timing.end_after

    def is_forgotten(self, now: ClockReading) -> bool:
        """Say whether nothing is left to post: it never was, or ran out over there."""
        never_or_long_ago = self.posted_at is None or now.monotonic >= self.posted_at + self.timing.valid
        return self.is_over(now) and never_or_long_ago

    def due_at(self) -> float:
        """Return the monotonic time at which it must be posted."""
        if self.posted_at is None:
            return 0.0
        resend_at = self.posted_at + self.timing.resend
        return resend_at if self.ended is None else self.ended.monotonic + self.timing.end_after

    def payload(self, now: ClockReading, runbook_url: str) -> dict[str, Any]:
        """Return it as Alertmanager takes it."""
        is_over = self.ended is not None and self.is_over(now)
        ends_at = self.ended.wall if self.ended is not None and is_over else now.wall + self.timing.valid
        return {
            "labels": self.halt.labels(),
            "annotations": self.halt.annotations(runbook_url),
            "startsAt": rfc3339(self.starts_at),
            "endsAt": rfc3339(max(self.starts_at, ends_at)),
        }


class Pager(Output):
    """Posts halts to the Alertmanager of the settings; idle where there is none."""

    name = "alertmanager"

    def __init__(
        self,
        state: DaemonState,
        timing: PagerTiming | None = None,
        now: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        self.posts = 0
        """Taken by Alertmanager."""
        self.failures = 0
        self._state = state
        self._timing = timing or PagerTiming()
        self._now = now
        self._is_stopping = False
        self._wanted_url = state.settings.alertmanager_url
        self._runbook_url = state.settings.runbook_url
        self._alerts: dict[Halt, _Alert] = {}
        self._has_changed = asyncio.Event()
        self._url: str | None = None
        """The Alertmanager that took what the alerts say was taken."""
        self._reached_at: float | None = None
        self._is_reachable: bool | None = None

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Note one change of one gate; it is posted as soon as the event loop is free."""
        if self._is_stopping or self._wanted_url is None:
            return
        now = self._now()
        for reason in change.added:
            self._note_halt(symbol_state, reason, change.at, now)
        for reason in change.removed:
            # What holds for every symbol ends with the last of them, which `_compare_with_gates` sees.
            alert = self._alerts.get(Halt(reason, symbol_state.symbol))
            if alert is not None:
                alert.end(ClockReading(change.at, now.timestamp(change.at)))
        self._has_changed.set()

    def apply_settings(self, _: Settings, new: Settings) -> None:
        """Turn to the Alertmanager of these settings."""
        self._wanted_url = new.alertmanager_url
        self._runbook_url = new.runbook_url
        self._has_changed.set()

    def phase_changed(self, phase: Phase) -> None:
        """Wake nobody for what ends because the daemon is stopped: it was asked for."""
        self._is_stopping = phase is Phase.STOPPING

    def metrics(self) -> Iterator[Metric]:
        """Yield how many posts were taken, and how many were not."""
        yield single(catalogue.PAGER_POSTS, lambda _: self.posts)
        yield single(catalogue.PAGER_FAILURES, lambda _: self.failures)

    async def run(self) -> None:
        """Post what is due until cancelled."""
        headers = {"User-Agent": f"feedd/{__version__}"}
        async with aiohttp.ClientSession(headers=headers, skip_auto_headers=("Accept",)) as http:
            while True:
                await self._post_until_taken(http)
                await self._wait_until_due()

    async def _post_until_taken(self, http: aiohttp.ClientSession) -> None:
        pauses = wait_random_exponential(multiplier=0.1, max=self._timing.longest_pause)
        while True:
            try:
                async for attempt in AsyncRetrying(
                    wait=pauses,
                    retry=retry_if_exception_type(UnavailableError),
                    before_sleep=self._note_failure,
                ):
                    with attempt:
                        await self._post_due(http)
            except Exception:
                # Prometheus alerts all the same. What was noted stays noted, and is tried again from here.
                self.failures += 1
                log.exception("a bug in posting halts to Alertmanager was contained")
                await asyncio.sleep(self._timing.longest_pause)
            else:
                return

    async def _post_due(self, http: aiohttp.ClientSession) -> None:
        """Post all that is due. Raises UnavailableError, and keeps what was not taken."""
        self._has_changed.clear()
        self._switch_to(self._wanted_url)
        if self._url is None:
            return
        now = self._now()
        self._compare_with_gates(now)
        due = [alert for alert in self._alerts.values() if alert.due_at() <= now.monotonic]
        is_silent = self._reached_at is None or now.monotonic >= self._reached_at + self._timing.resend
        if due or is_silent:
            for start in range(0, max(len(due), 1), ALERTS_IN_A_POST):
                await self._post(http, f"{self._url}/api/v2/alerts", due[start : start + ALERTS_IN_A_POST])

    def _switch_to(self, url: str | None) -> None:
        """Post to that Alertmanager: another one knows nothing yet, and what the old one knows runs out."""
        if url == self._url:
            return
        self._url = url
        self._reached_at = self._is_reachable = None
        self._alerts.clear()

    def _compare_with_gates(self, now: ClockReading) -> None:
        """Make the alerts agree with the gates, also where no change was announced: symbols come and go."""
        halts = {}
        for symbol_state in self._state.symbols.values():
            for reason, since in symbol_state.gate.active.items():
                alert = self._note_halt(symbol_state, reason, since, now)
                if alert is not None:
                    halts[alert.halt] = alert
        for halt, alert in list(self._alerts.items()):
            if halt not in halts:
                alert.end(now)
            if alert.is_forgotten(now):
                del self._alerts[halt]

    def _note_halt(
        self, symbol_state: SymbolState, reason: Reason, at: float, now: ClockReading
    ) -> _Alert | None:
        """Note a halt; one that has just ended goes on."""
        if reason in _NOT_PAGED:
            return None
        is_state_wide = reason in _EVERY_SYMBOL
        if self._state.source is Source.STATIC and not is_state_wide:
            return None  # the rules don't alert for it either: nobody trades on it by accident
        halt = Halt(reason, None if is_state_wide else symbol_state.symbol)
        alert = self._alerts.get(halt)
        if alert is None:
            alert = self._alerts[halt] = _Alert(halt, now.timestamp(at), self._timing)
        alert.begin()
        return alert

    async def _post(self, http: aiohttp.ClientSession, url: str, alerts: list[_Alert]) -> None:
        now = self._now()
        over = {alert for alert in alerts if alert.is_over(now)}
        try:
            async with http.post(
                url,
                data=orjson.dumps([alert.payload(now, self._runbook_url) for alert in alerts]),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self._timing.timeout),
                allow_redirects=False,
            ) as response:
                text = await response.text(errors="replace")
                if response.status != 200:
                    raise UnavailableError(f"{response.status} {text[:_BODY_CHARACTERS]}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error
        self.posts += 1
        self._note_reachable(True)
        self._reached_at = now.monotonic
        for alert in alerts:
            if alert.posted(now, as_over=alert in over):
                del self._alerts[alert.halt]

    async def _wait_until_due(self) -> None:
        now = self._now().monotonic
        look_at = (now if self._reached_at is None else self._reached_at) + self._timing.resend
        due_at = min((alert.due_at() for alert in self._alerts.values()), default=look_at)
        try:
            async with asyncio.timeout(max(min(due_at, look_at) - now, 0.0)):
                await self._has_changed.wait()
        except TimeoutError:
            pass

    def _note_failure(self, state: RetryCallState) -> None:
        self.failures += 1
        self._note_reachable(False, state.outcome.exception() if state.outcome else None)

    def _note_reachable(self, is_reachable: bool, error: BaseException | None = None) -> None:
        """Log once per change, not once per attempt."""
        if is_reachable is self._is_reachable:
            return
        self._is_reachable = is_reachable
        if is_reachable:
            log.info("Alertmanager takes halts", extra=fields(url=self._url))
        else:
            log.warning(
                "Alertmanager can't be told of halts; until it can, pages come by way of Prometheus alone",
                extra=fields(url=self._url, error=error),
            )
