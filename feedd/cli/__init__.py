"""What people type: the commands, and how each finds the daemon it speaks to."""
