"""Tests of the sources, against the embedded exchange."""
