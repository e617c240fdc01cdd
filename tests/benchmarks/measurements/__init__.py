"""One file for each thing that is measured. Each takes the rounds wanted and returns a Section."""
