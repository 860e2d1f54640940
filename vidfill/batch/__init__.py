"""Many videos: one job each, files that record how far each job is, and workers on this machine or a cluster.

`vidfill.batch` is the entry. Progress is known from files beside the outputs, never from a scheduler, so a batch can be
killed, started again, or spread over machines by hand, and every job is still done once.
"""
