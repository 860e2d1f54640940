"""Bringing pixels of one frame to the place they have in another."""
