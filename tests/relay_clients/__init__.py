"""Clients from PyPI that tests run against the relay, each unmodified and told nothing but another address.

They live in an environment of their own (`make .venv-clients/.installed`): together they bring fifty packages
that feedd has no use for. Each script is started with the relay's address, the address of Binance's REST side
and a number of trades, prints that many trades of BTCUSDT, one JSON line each, and ends.
"""
