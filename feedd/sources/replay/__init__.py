"""Market data from files."""
