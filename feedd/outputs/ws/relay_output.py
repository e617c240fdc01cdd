"""The relay as one of the daemon's outputs: what is compiled stands behind this, and is called straight."""

from __future__ import annotations

from collections.abc import Mapping

from feedd.config.settings import Settings
from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolState
from feedd.outputs.output import Output, Serve
from feedd.outputs.ws.relay import Relay


class RelayOutput(Output):
    """Passes on to the relay what every output is called with."""

    name = "relay"

    def __init__(self, relay: Relay) -> None:
        self.fast_path = self.relay = relay

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Let go of those who don't want to listen to a halted symbol."""
        self.relay.gate_changed(symbol_state, change)

    def apply_settings(self, old: Settings, new: Settings) -> None:
        """Let go of those who did not ask for static data, before there is any."""
        self.relay.apply_settings(old, new)

    async def stop(self) -> None:
        """Write what is owed, before everyone is let go."""
        self.relay.flush()

    def routes(self) -> Mapping[str, Serve]:
        """Return Binance's paths."""
        paths = ("/stream", "/stream/", "/ws", "/ws/{names:.*}")
        return dict.fromkeys(paths, self.relay.serve)
