"""The tests of `feedd.binance`."""
