"""Every test, and every process that one starts, computes on one thread and hears Ctrl-C.

The tensors are tiny: more threads gain nothing, and on a machine that is busy they wait for each other. A shell starts
background jobs with Ctrl-C ignored, which processes would inherit from the tests.
"""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which is after this
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
