"""The command line: its commands, and how each finds the daemon it speaks to."""
