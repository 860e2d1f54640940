"""How good a result is, in numbers that the field uses."""
