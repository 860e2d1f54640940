"""Fit a network to the very clip that it is to fill, before it fills it (internal learning).

The extra holes that it learns from have the shape and the motion of the real one and lie where the clip is known. What
they are filled with can be compared with the truth, so the outcome is judged on holes held out of it, and dropped if
it is not better.

Sources: Wang et al., An Internal Learning Approach to Video Inpainting (ICCV 2019), which trains a network on the clip
alone; here a trained one starts.
"""

from vidfill.adapt.adaptation import Adaptation as Adaptation

__all__ = ["Adaptation"]
