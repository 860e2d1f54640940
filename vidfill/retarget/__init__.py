"""A new aspect ratio without squeezed objects: they are removed, the clean picture is resized, they are put back."""
