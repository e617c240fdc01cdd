"""Market data over WebSocket connections."""
