"""Where the daemon's state is told: it is only read here, and nothing that asks can change it."""
