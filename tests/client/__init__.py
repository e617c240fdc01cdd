"""Tests of what a strategy imports."""
