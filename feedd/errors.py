"""Every error that feedd raises on purpose.

    FeeddError
    ├── SettingsError        the configuration is wrong; nothing was changed
    ├── DecodeError          bytes that are no message feedd knows how to trust
    ├── UnavailableError     what was asked (the venue's REST side, a feedd) did not answer
    ├── NotDrillableError    a daemon that must not, or can't, be drilled
    ├── RequestRefused       a request that a stream server refuses (venues.binance.common.stream_protocol)
    ├── ConnectFailed        an attempt to connect failed (sources.live.connection)
    ├── UnknownSymbolError   the venue has no such symbol (sources.rest.pollers)
    ├── UnusableAnswer       an answer about missed trades that is of no use (sources.rest.backfill)
    ├── UnusableFile         a CSV file that can't be played (sources.replay.csv_files)
    ├── NotConfirmedError    the daemon has not confirmed that a flag took effect (cli.flag_commands)
    ├── FeedClosedError      a strategy waited for a feed that it has closed (client.feed)
    ├── UnreadableMessage    a message of a daemon's that is none of Binance's (client.decode)
    ├── FaultError           a fault that the embedded exchange doesn't have (exchange.fault_registry)
    ├── BoardError           the exchange refused a fault of the drill's (drill.fault_board_client)
    ├── AnswerError          a daemon under drill answered a request wrongly (drill.http_load)
    └── NotReadyError        the gates are not open, so no drill could see them halt (drill.run)

Anything else that escapes is a bug: it halts the symbol it hit under the reason `internal`.
"""

from __future__ import annotations

from dataclasses import dataclass

from feedd.model import InvalidReason


class FeeddError(Exception):
    """The root of the tree."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the configuration, and where."""

    place: str
    """The file and line, `environment` or `command line`."""
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key}: expected {self.expected}, found {self.found}"


class SettingsError(FeeddError):
    """The configuration is wrong. `problems` holds every mistake, not just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class DecodeError(FeeddError):
    """Bytes that can't be trusted as a message: `reason` is the metric's label, the text says where."""

    def __init__(self, reason: InvalidReason, detail: str, stream: str | None = None) -> None:
        detail = _shortened(detail)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.stream = None if stream is None else _shortened(stream)
        """The stream's wire name where it could be read, else None."""


def _shortened(text: str) -> str:
    """Return what fits a log line: the text may quote a frame of megabytes."""
    return text if len(text) <= 200 else f"{text[:200]}…"


class UnavailableError(FeeddError):
    """Something that was asked did not answer, or not with what was asked for."""


class NotDrillableError(FeeddError):
    """This daemon must not, or can't, be drilled: the text says why."""
