"""A strategy's feed: the market's events, and the gates that decide whether to act on them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, overload

import aiohttp
import msgspec

from feedd.client.address import Address, close_session, close_socket, new_backoff
from feedd.client.decode import Decoder, SubscriptionAnswer, UnreadableMessage
from feedd.client.events import Event, Number
from feedd.client.gap_tracker import GapTracker
from feedd.client.gate_follower import GateFollower
from feedd.client.gate_store import CLOSED, LAGGING, NO_STREAM, SILENT, GateStore, GateView
from feedd.errors import FeeddError

log = logging.getLogger(__name__)

STREAMS: Final = ("trade", "bookTicker", "kline_1s")
"""feedd's own default."""
EVENTS_WAITING_MAX: Final = 1_000
"""Beyond this nothing more is read, and feedd ends the connection of a client that lags further."""

HaltCallback = Callable[[GateView], Awaitable[object] | object]
Callback = TypeVar("Callback", bound=HaltCallback)


class FeedClosedError(FeeddError):
    """The feed was closed while somebody waited for it."""


@overload
def connect(
    url: str,
    symbols: Iterable[str],
    *,
    streams: Iterable[str] = STREAMS,
    numbers: type[Decimal] = Decimal,
    allow_static: bool = False,
    headers: Mapping[str, str] | None = None,
    ssl: ssl.SSLContext | None = None,
) -> Feed[Decimal]: ...
@overload
def connect(
    url: str,
    symbols: Iterable[str],
    *,
    streams: Iterable[str] = STREAMS,
    numbers: type[str],
    allow_static: bool = False,
    headers: Mapping[str, str] | None = None,
    ssl: ssl.SSLContext | None = None,
) -> Feed[str]: ...
def connect(
    url: str,
    symbols: Iterable[str],
    *,
    streams: Iterable[str] = STREAMS,
    numbers: type[Decimal] | type[str] = Decimal,
    allow_static: bool = False,
    headers: Mapping[str, str] | None = None,
    ssl: ssl.SSLContext | None = None,
) -> Feed[Decimal] | Feed[str]:
    """Return a feed of that daemon, to be used as `async with feedd.connect(…) as feed:`.

    Entering it doesn't wait for the daemon: until there is one, gates are closed and say `unreachable`, and
    the log (`feedd.client`) says why. It reconnects by itself, for as long as it is open.

    Args:
        url: `http(s)://[user:password@]host:port` of the daemon (FEEDD_LISTEN).
        symbols: such as `["BTCUSDT"]`; each of the daemon's FEEDD_SYMBOLS.
        streams: each of the daemon's FEEDD_STREAMS; with none there are gates only.
        numbers: what prices and quantities are: Decimal, or str for the exchange's own text.
        allow_static: whether recorded data is welcome; without it, static data closes every gate.
        headers: sent at each connect, such as `{"Authorization": "Bearer …"}`.
        ssl: for an https daemon whose certificate the system doesn't know.

    Raises:
        ValueError: a URL, symbols or streams that can't be.
    """
    address = Address.parse(url, headers, ssl)
    names = tuple(dict.fromkeys(symbol.upper() for symbol in _checked_names(symbols, "symbols")))
    if not names:
        raise ValueError("expected at least one symbol")
    kinds = tuple(dict.fromkeys(_checked_names(streams, "streams")))
    if numbers is str:
        return Feed(address, names, Decoder(names, kinds, str), allow_static)
    return Feed(address, names, Decoder(names, kinds, Decimal), allow_static)


def _checked_names(names: Iterable[str], what: str) -> Iterable[str]:
    """Return the names. Raises ValueError for one text, which would be taken for a list of letters."""
    if isinstance(names, str):
        raise ValueError(f"expected a list of {what}, found the text {names!r}")
    return names


class Feed(Generic[Number]):
    """One strategy's connection to a daemon. Made by `connect`; belongs to one event loop.

    Iterating over it yields events in the order they came, and before each gap a `Missed`. It ends when the
    feed is closed, and never because of the daemon.
    """

    def __init__(
        self,
        address: Address,
        symbols: tuple[str, ...],
        decoder: Decoder[Number],
        allow_static: bool,
        *,
        events_waiting_max: int = EVENTS_WAITING_MAX,
    ) -> None:
        self.symbols = symbols
        self.unreadable = 0
        """Messages that were left out because they are not what Binance documents."""
        self._address = address
        self._decoder = decoder
        self._gate_store = GateStore(allow_static)
        self._gap_tracker = GapTracker(decoder.names)
        self._events: asyncio.Queue[Event[Number] | None] = asyncio.Queue(events_waiting_max)
        self._has_stream = not decoder.names
        self._backoff = new_backoff()
        self._stream_timeout: asyncio.Timeout | None = None
        self._open_symbols: set[str] = set()
        self._gate_change = asyncio.Event()
        self._callbacks: list[HaltCallback] = []
        self._callback_tasks: set[asyncio.Future[object]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._is_closed = False

    # --- what the strategy calls

    def gate(self, symbol: str) -> GateView:
        """Return whether trading in that symbol is open, and if not, why. Answers from memory.

        To the daemon's reasons come the client's own: `unreachable`, `silent` (no sign of life for 2 s),
        `no_stream`, `lagging` (a thousand events wait to be taken), `unknown_symbol`, `closed`.
        """
        if self._is_closed:
            return GateView(symbol.upper(), (CLOSED,))
        view = self._gate_store.snapshot.view(symbol, time.monotonic())
        reasons = list(view.reasons)
        if not self._has_stream:
            reasons.append(NO_STREAM)
        if self._events.full():
            reasons.append(LAGGING)
        return GateView(view.symbol, tuple(reasons))

    async def wait_open(self, symbol: str) -> GateView:
        """Wait until trading in that symbol is open; `asyncio.timeout` bounds it.

        Raises:
            FeedClosedError: the feed was closed.
            ValueError: the symbol is not one of the feed's.
        """
        if symbol.upper() not in self.symbols:
            raise ValueError(f"expected one of {', '.join(self.symbols)}, found {symbol!r}")
        while not self._is_closed:
            view = self.gate(symbol)
            if view.is_open:
                return view
            await self._gate_change.wait()
        raise FeedClosedError(f"the feed was closed while waiting for the gate of {symbol}")

    def on_halt(self, callback: Callback) -> Callback:
        """Have `callback` called with the gate of each symbol of the feed that halts after it was open.

        It may be a function or a coroutine function; it runs in the feed's event loop, and what it raises is
        logged. Returns it, so that this can be a decorator.
        """
        self._callbacks.append(callback)
        return callback

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[Number]:
        event = None if self._is_closed else await self._events.get()
        if event is not None:
            return event
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    # --- life

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        follower = GateFollower(self._http, self._address, self._gate_store, self._handle_gate_event)
        self._tasks = [asyncio.create_task(follower.run())]
        if self._decoder.names:
            self._tasks.append(asyncio.create_task(self._keep_streaming()))
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections, and let running halt callbacks finish. No halt callback is called for it."""
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._callback_tasks, return_exceptions=True)
        await close_session(self._http, self._address)

    def _end(self) -> None:
        self._is_closed = True
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(None)
        self._gate_change.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._is_closed:
            # Both tasks run until cancelled, so this is a bug, which must not pass for a quiet market.
            self._failure = task.exception()
            self._halt_all()
            self._end()

    # --- market data

    async def _keep_streaming(self) -> None:
        failed_before = False
        while True:
            try:
                await self._stream_once()
            except ConnectionError as error:
                level = logging.DEBUG if failed_before else logging.WARNING
                log.log(level, "no market data from feedd: %s", error)
            failed_before = not self._has_stream
            self._has_stream = False
            self._gap_tracker.disconnected(time.monotonic())
            self._update_gates()
            await asyncio.sleep(self._backoff.delay(random.random()))

    async def _stream_once(self) -> None:
        """Connect, and queue market data until the connection is lost, which raises ConnectionError."""
        socket = await self._address.dial(self._http, "stream", self._gate_store.allow_static)
        good_since: float | None = None
        try:
            async with asyncio.timeout(None) as self._stream_timeout:
                request = {"method": "SUBSCRIBE", "params": list(self._decoder.names), "id": 1}
                await socket.send_str(msgspec.json.encode(request).decode())
                while True:
                    message = await socket.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        raise ConnectionError(f"{self._address} has closed the stream ({socket.close_code})")
                    if await self._accept_frame(message.data) and good_since is None:
                        good_since = time.monotonic()
        except TimeoutError:
            raise ConnectionError(f"{self._address} is silent") from None
        finally:
            self._stream_timeout = None
            if good_since is not None:
                self._backoff.connection_ended(time.monotonic() - good_since)
            await close_socket(socket)

    async def _accept_frame(self, frame: bytes) -> bool:
        """Put the event of a frame into the queue. Returns False for what is no market data."""
        try:
            message = self._decoder.decode(frame)
        except UnreadableMessage as error:
            self.unreadable += 1
            log.log(
                logging.WARNING if self.unreadable == 1 else logging.DEBUG, "unreadable message: %s", error
            )
            return False
        if isinstance(message, SubscriptionAnswer):
            self._accept_subscription_answer(message)
            return False
        name, event = message
        missed = self._gap_tracker.gap_before(name, event)
        if missed is not None:
            await self._enqueue(missed)
        await self._enqueue(event)
        return True

    def _accept_subscription_answer(self, answer: SubscriptionAnswer) -> None:
        if answer.error is not None:
            names = ", ".join(self._decoder.names)
            raise ConnectionError(
                f"{self._address} says {answer.error!r} to {names}: are all of them configured there?"
            )
        log.info("market data comes from %s", self._address)
        self._has_stream = True
        self._gap_tracker.connected(time.monotonic())
        self._update_gates()

    async def _enqueue(self, event: Event[Number]) -> None:
        if not self._events.full():
            self._events.put_nowait(event)
        else:
            self._update_gates()
            await self._events.put(event)
            self._update_gates()

    # --- gates

    def _handle_gate_event(self) -> None:
        self._update_gates()
        if self._gate_store.snapshot.lost_reason == SILENT and self._stream_timeout is not None:
            # The market data comes from the same daemon, whose connection might otherwise stay open for ever.
            self._stream_timeout.reschedule(asyncio.get_running_loop().time())

    def _update_gates(self) -> None:
        """Find the gates that are open now, and call back for those that no longer are."""
        if self._is_closed:
            return
        views = [self.gate(symbol) for symbol in self.symbols]
        halted = [view for view in views if not view.is_open and view.symbol in self._open_symbols]
        self._open_symbols = {view.symbol for view in views if view.is_open}
        for view in halted:
            self._call_back(view)
        self._gate_change.set()
        self._gate_change = asyncio.Event()

    def _halt_all(self) -> None:
        for symbol in self._open_symbols:
            self._call_back(GateView(symbol, (CLOSED,)))

    def _call_back(self, view: GateView) -> None:
        for callback in self._callbacks:
            try:
                outcome = callback(view)
            except Exception:
                log.exception("a halt callback failed")
                continue
            if inspect.isawaitable(outcome):
                task = asyncio.ensure_future(outcome)
                self._callback_tasks.add(task)
                task.add_done_callback(self._callback_ended)

    def _callback_ended(self, task: asyncio.Future[object]) -> None:
        self._callback_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a halt callback failed", exc_info=task.exception())
