"""Every test, and every process that one starts, computes on one thread.

The tensors are tiny: more threads gain nothing, and on a machine that is busy they wait for each other.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which is after this
