"""The worker processes of a batch, to kill them."""

from pathlib import Path


def worker_pids(parent: int) -> list[int]:
    """The workers among the children of a batch's process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and b"spawn_main" in command:
            found.append(int(stat.parent.name))
    return sorted(found)
