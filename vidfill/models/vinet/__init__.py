"""VINet (Deep Video Inpainting, CVPR 2019)."""
