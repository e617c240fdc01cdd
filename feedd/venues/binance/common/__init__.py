"""What all venues of Binance share on the wire."""
