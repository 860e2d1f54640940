"""Training of the painter."""
