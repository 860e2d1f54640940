"""Training: data on the device, moving scenes made from photos, losses, the loop. Needs no PyAV.

Example:
    >>> from vidfill.train.recipes import find_recipe
    >>> find_recipe("tiny").n_steps
    4
"""
