from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import Clip, write_clip, write_images
from vidfill.errors import InputError, OutputError, UsageError
from vidfill.progress import Progress
from vidfill.removal.preview import join, preview, sheet, spread
from vidfill.settings.commands import Layout
from vidfill.video.display import overlay

N_FRAMES = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("preview")
    clip = write_clip(folder / "in.mp4", n=N_FRAMES, with_object=True, audio_tracks=1)
    write_images(folder / "masks", clip.masks)
    write_clip(folder / "clean.mp4", pictures=clip.background)
    return clip


def _decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in file.decode(video=0)]


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_overlay() -> None:
    picture = np.full((12, 16, 3), 100, np.uint8)
    mask = np.zeros((12, 16), np.bool_)
    mask[3:9, 4:10] = True
    shown = overlay(picture, mask)
    assert (shown[~mask] == picture[~mask]).all()
    assert (shown[mask] != picture[mask]).any(axis=1).all()
    assert (picture == 100).all()


@pytest.mark.parametrize(
    ("layout", "shape"), [("side-by-side", (8, 24, 3)), ("stacked", (16, 12, 3)), ("split", (8, 12, 3))]
)
def test_join_puts_before_first(layout: Layout, shape: tuple[int, int, int]) -> None:
    before, after = np.full((8, 12, 3), 10, np.uint8), np.full((8, 12, 3), 200, np.uint8)
    both = join(before, after, layout)
    assert both.shape == shape
    assert both[0, 0, 0] == 10
    assert both[-1, -1, 0] == 200


def test_spread() -> None:
    assert spread(48, 4) == [0, 16, 31, 47]
    assert spread(3, 12) == [0, 1, 2]
    assert spread(5, 1) == [0]


def test_a_sheet_lays_its_cells_out_in_rows() -> None:
    cells = [(str(i), np.full((40, 60, 3), 10 * (i + 1), np.uint8)) for i in range(5)]
    paper = sheet(cells, columns=3)
    assert paper.shape == (2 * 46 + 6, 3 * 66 + 6, 3)
    assert [int(paper[6 + 5, 6 + 30 + 66 * i, 0]) for i in range(3)] == [10, 20, 30]
    assert int(paper[6 + 46 + 5, 6 + 66 + 30, 0]) == 50
    assert int(paper[6 + 46 + 5, 6 + 2 * 66 + 30, 0]) == 24  # no sixth cell: paper


def test_a_large_sheet_is_scaled_down() -> None:
    cells = [("", np.zeros((1080, 1920, 3), np.uint8))] * 4
    assert sheet(cells).shape[1] <= 1920 + 12


def test_a_sheet_of_the_mask(clip: Clip, tmp_path: Path) -> None:
    steps: list[Progress] = []
    result = preview(
        clip.path,
        tmp_path / "sheet.png",
        mask=clip.path.parent / "masks",
        n_cells=4,
        columns=2,
        progress=steps.append,
    )
    assert (result.n_frames, result.size) == (4, (2 * (64 + 6) + 6, 2 * (96 + 6) + 6))
    paper = cv2.imread(str(tmp_path / "sheet.png"))
    assert paper is not None
    assert paper.shape[:2] == result.size
    assert steps[-1] == Progress("preview", N_FRAMES, N_FRAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_video_keeps_sound_and_timing(clip: Clip, tmp_path: Path) -> None:
    result = preview(clip.path, tmp_path / "both.mp4", result=clip.path.parent / "clean.mp4")
    assert (result.n_frames, result.size) == (N_FRAMES, (64, 192))
    pictures = _decoded(tmp_path / "both.mp4")
    before, after = _decoded(clip.path), _decoded(clip.path.parent / "clean.mp4")
    for shown, left, right in zip(pictures, before, after, strict=True):
        assert _difference(shown[:, :96], left) < 5 < _difference(shown[:, :96], right)
        assert _difference(shown[:, 96:], right) < 5 < _difference(shown[:, 96:], left)
    with av.open(str(tmp_path / "both.mp4")) as file, av.open(str(clip.path)) as source:
        assert len(file.streams.audio) == 1
        made, given = ([frame.time for frame in f.decode(video=0)] for f in (file, source))
    assert made == given


def test_turned_source(tmp_path: Path) -> None:
    turned = write_clip(tmp_path / "turned.mp4", n=3, with_object=True, rotation=90)
    write_images(tmp_path / "masks", np.rot90(turned.masks, 1, axes=(1, 2)))
    result = preview(turned.path, tmp_path / "sheet.png", mask=tmp_path / "masks", n_cells=1)
    assert result.size == (96 + 12, 64 + 12)
    result = preview(turned.path, tmp_path / "over.mp4", mask=tmp_path / "masks")
    assert result.size == (96, 64)
    assert _decoded(tmp_path / "over.mp4")[0].shape == (96, 64, 3)


def test_odd_sizes_lose_a_row(tmp_path: Path) -> None:
    odd = write_clip(tmp_path / "odd.mkv", n=3, size=(63, 95), codec="ffv1", pix_fmt="yuv444p")
    result = preview(odd.path, tmp_path / "over.mp4", box=["5,5,20,20"])
    assert result.size == (62, 94)


def test_what_cannot_be_shown(clip: Clip, tmp_path: Path) -> None:
    masks = clip.path.parent / "masks"
    with pytest.raises(UsageError, match="nothing to show"):
        preview(clip.path, tmp_path / "a.png")
    with pytest.raises(UsageError, match="without a result"):
        preview(clip.path, tmp_path / "a.png", mask=masks, layout="split")
    with pytest.raises(UsageError, match="without a mask"):
        preview(clip.path, tmp_path / "a.png", result=clip.path, layout="overlay")
    with pytest.raises(OutputError, match="does not exist"):
        preview(clip.path, tmp_path / "nowhere" / "a.png", mask=masks)
    other = write_clip(tmp_path / "other.mp4", n=N_FRAMES, size=(32, 48))
    with pytest.raises(InputError, match="48x32; expected 96x64"):
        preview(clip.path, tmp_path / "a.png", result=other.path)
    short = write_clip(tmp_path / "short.mp4", n=4)
    for name in ("a.png", "a.mp4"):
        with pytest.raises(InputError, match="ends before"):
            preview(clip.path, tmp_path / name, result=short.path)
        assert not list(tmp_path.glob("a.*"))


def test_existing_sheet_needs_overwrite(clip: Clip, tmp_path: Path) -> None:
    sheet_file = tmp_path / "a.png"
    sheet_file.write_bytes(b"keep me")
    with pytest.raises(OutputError, match="exists"):
        preview(clip.path, sheet_file, box=["1,1,9,9"])
    assert sheet_file.read_bytes() == b"keep me"
    preview(clip.path, sheet_file, box=["1,1,9,9"], overwrite=True)
    assert sheet_file.read_bytes() != b"keep me"
