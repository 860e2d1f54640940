"""Onion-Peel Networks (ICCV 2019)."""
