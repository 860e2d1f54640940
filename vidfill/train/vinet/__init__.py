"""Training of VINet."""
