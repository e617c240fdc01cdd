"""What Binance means: hosts, stream names, payloads."""
