"""Measurements: `make bench` and `make soak`."""
