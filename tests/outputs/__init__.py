"""Tests of the outputs, by asking a running daemon."""
