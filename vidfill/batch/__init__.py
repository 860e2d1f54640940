"""Many videos: their jobs, the files that say how far each is, and workers on this machine or on a cluster.

`vidfill.batch` is the entry. What is done is known from files beside the outputs, never from a scheduler, so that a
batch can be killed, started again, or spread over machines by hand, and every job is still done once.
"""
