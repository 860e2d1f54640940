"""Known pixels carried along time into the hole; nothing learned."""
