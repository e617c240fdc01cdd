"""Which outputs there are. Another one is a file of its own, and a row here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from feedd.core.daemon_state import DaemonState
from feedd.outputs.alertmanager import Pager, PagerTiming
from feedd.outputs.output import Output, OutputFailures
from feedd.outputs.systemd import Notifier, Systemd
from feedd.outputs.ws.consumer import ConsumerRegistry
from feedd.outputs.ws.gate_events import HEARTBEAT_SECONDS, GateEvents
from feedd.outputs.ws.relay import Relay
from feedd.outputs.ws.relay_output import RelayOutput


@dataclass(frozen=True, slots=True)
class OutputTiming:
    """The times of the outputs."""

    heartbeat_seconds: float = HEARTBEAT_SECONDS
    pager: PagerTiming = field(default_factory=PagerTiming)


@dataclass(frozen=True, slots=True)
class OutputContext:
    """What an output can be made of. It reads the state, and changes nothing of it."""

    state: DaemonState
    consumers: ConsumerRegistry
    failures: OutputFailures = field(default_factory=OutputFailures)
    timing: OutputTiming = field(default_factory=OutputTiming)


Factory = Callable[[OutputContext], Output | None]
"""Makes an output; None where it isn't wanted."""


def _relay(context: OutputContext) -> Output:
    return RelayOutput(Relay(context.state, context.consumers, context.failures))


def _gate_events(context: OutputContext) -> Output:
    return GateEvents(context.state, context.consumers, context.timing.heartbeat_seconds)


def _alertmanager(context: OutputContext) -> Output:
    return Pager(context.state, context.timing.pager)


def _systemd(context: OutputContext) -> Output:
    return Systemd(context.state, Notifier.from_environ(os.environ))


OUTPUTS: Final[Mapping[str, Factory]] = MappingProxyType(
    {
        "gate_events": _gate_events,
        "relay": _relay,
        "alertmanager": _alertmanager,
        "systemd": _systemd,
    }
)
"""By name, in the order in which they are called: who must not trade hears of it first."""


def outputs_of(context: OutputContext, table: Mapping[str, Factory] = OUTPUTS) -> list[Output]:
    """Return the outputs of a daemon."""
    made = [factory(context) for factory in table.values()]
    return [output for output in made if output is not None]
