"""Tests of the installed daemon under a real systemd."""
