"""An ffmpeg that is not ours, to check our files and our reading with."""

import subprocess

import imageio_ffmpeg


def run_ffmpeg(*arguments: object) -> bytes:
    """Run it; what it writes to standard output. Fails with its own message."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
