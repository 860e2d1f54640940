"""Decoding and encoding, with everything about the file that is not the hole left as it was."""
