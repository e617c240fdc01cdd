"""What a venue means, as data."""
