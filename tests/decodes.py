"""Counts how often a source file is opened and how often each of its frames is decoded, wherever that happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest


class Decodes:
    """What was counted.

    Attributes:
        openings: how often the file was opened for reading.
        frames: how often each frame came out of a decoder, by its timestamp.
    """

    def __init__(self) -> None:
        self.openings = 0
        self.frames: Counter[int] = Counter()

    @property
    def per_frame(self) -> float:
        """Decodes a frame, on average."""
        return self.frames.total() / len(self.frames)


@contextmanager
def counted(path: Path) -> Iterator[Decodes]:
    """Count while the block runs; decoding is seen where it goes through `vidfill.video.source.open_video`."""
    from vidfill.video import source

    found = Decodes()
    av_open, open_video = av.open, source.open_video

    def opened(file: Any, *arguments: Any, **options: Any) -> Any:
        is_read = options.get("mode", arguments[0] if arguments else "r") == "r"
        found.openings += is_read and file == str(path)
        return av_open(file, *arguments, **options)

    def opened_video(file: Path) -> tuple[Any, Any]:
        container, stream = open_video(file)
        if Path(file) != path:
            return container, stream
        return _Container(container), _Stream(stream, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(av, "open", opened)
        for module in ("source", "decode", "read"):
            patch.setattr(f"vidfill.video.{module}.open_video", opened_video, raising=False)
        yield found


class _Proxy:
    """Passes everything on."""

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)


class _Container(_Proxy):
    def demux(self, stream: Any) -> Iterator[Any]:
        return self.real.demux(stream.real)  # type: ignore[no-any-return]

    def seek(self, pts: int, *, stream: Any) -> None:
        self.real.seek(pts, stream=stream.real)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.real.close()


class _Stream(_Proxy):
    def __init__(self, real: Any, found: Decodes) -> None:
        super().__init__(real)
        object.__setattr__(self, "found", found)

    def decode(self, packet: Any) -> Any:
        frames = self.real.decode(packet)
        self.found.frames.update(frame.pts for frame in frames)
        return frames
