"""Fast forms of the mathematics in `functional`."""
