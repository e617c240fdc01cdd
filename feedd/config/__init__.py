"""From an env-file, the environment and a command line to settings, and when a change acts."""
