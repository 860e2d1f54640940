"""Any frame in any order, from a bounded number of them."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_clip
from vidfill.errors import InputError
from vidfill.track.timeline import working_picture
from vidfill.ui import pictures
from vidfill.ui.pictures import N_KEPT, Pictures, shown
from vidfill.video.display import encode_picture
from vidfill.video.frame import Rgb
from vidfill.video.index import SourceIndex, index_source
from vidfill.video.read import Reader

N_FRAMES = 40


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("pictures") / "in.mp4", n=N_FRAMES, vfr=True, rotation=90).path


@pytest.fixture(scope="module")
def timeline(path: Path) -> SourceIndex:
    with Reader(path) as reader:
        return index_source(reader)


def test_frames_in_any_order(path: Path, timeline: SourceIndex) -> None:
    with Reader(path) as reader:
        info = reader.info
        straight = [(encode_picture(shown(f, info), ".jpg"), working_picture(f, info)) for f in reader.frames()]
    some = Pictures(path, timeline)
    forward, back, jumps = range(0, 6), range(39, 20, -1), (3, 30, 2, 30, 12, 13, 0, 39)
    for index in (*forward, *back, *jumps):
        got = some.at(index)
        assert got.jpeg == straight[index][0]
        assert np.array_equal(got.working, straight[index][1])
    some.close()


def test_cache_and_steps_back(path: Path, timeline: SourceIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def encode(picture: Rgb, suffix: str) -> bytes:
        made.append(b"")
        return made[-1]

    monkeypatch.setattr(pictures, "encode_picture", encode)
    some = Pictures(path, timeline)
    for index in range(N_FRAMES):
        some.at(index)
    assert len(made) == N_FRAMES
    some.at(N_FRAMES - 1)
    some.at(N_FRAMES - N_KEPT)
    assert len(made) == N_FRAMES, "kept frames are not decoded again"
    some.at(N_FRAMES - N_KEPT - 1)
    assert len(made) > N_FRAMES, "older ones are"
    some.at(N_FRAMES - 1)
    made.clear()
    for index in range(N_FRAMES - 1, -1, -1):
        some.at(index)
    assert len(made) <= N_FRAMES + pictures.N_BACK
    some.close()


@pytest.mark.parametrize("index", [-1, N_FRAMES])
def test_frame_out_of_range(path: Path, timeline: SourceIndex, index: int) -> None:
    with pytest.raises(InputError, match=f"expected 0 to {N_FRAMES - 1}"):
        Pictures(path, timeline).at(index)


def test_only_large_pictures_are_shrunk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Reader(path) as reader:
        frame = next(iter(reader.frames()))
        assert shown(frame, reader.info).shape == (96, 64, 3)
        monkeypatch.setattr(pictures, "SHOWN_PIXELS", 96 * 64 // 4)
        assert shown(frame, reader.info).shape == (48, 32, 3)
