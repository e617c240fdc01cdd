"""feedd keeps Binance market data alive and closes the trading gate when it can't be trusted."""

__version__ = "0.1.0"
