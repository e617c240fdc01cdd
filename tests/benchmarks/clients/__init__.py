"""One program for each client that is measured. Each is started with an order and prints one line of JSON.

Those of other people's clients run in environments that hold nothing of feedd's, so what they share
(`order.py`, `stamp.py`) imports only the standard library.
"""
