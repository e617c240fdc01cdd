"""What is asked of the venue over HTTP."""
