"""The ways out of the daemon: each reads its state, counts for itself, and can change nothing of it."""
