"""The daemon's WebSocket consumers."""
