"""The tests of `feedd.core`."""
