"""The stage that knows networks and devices: it feeds a model the frames of a segment and gives out patches."""
