"""Where market data comes from. A source carries it into the sessions and knows nothing of the outputs."""
