"""Training of Onion-Peel Networks and of their temporal network."""
