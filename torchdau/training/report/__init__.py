"""A page about a trained network."""
