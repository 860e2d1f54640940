"""Holes that never change, and clips that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

from tests.align.scenes import box_hole
from tests.evaluate.clips import write_clips
from vidfill.errors import InputError, MaskError, UsageError
from vidfill.evaluate.protocol import (
    check_clip,
    chosen_clips,
    clip_names,
    load_clip,
    load_removal,
    moving_holes,
    stationary_hole,
)

N_FRAMES = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), n_frames=N_FRAMES)


def test_a_stationary_hole_depends_on_the_name_alone() -> None:
    # Pinned: published scores mean these holes.
    assert {name: int(stationary_hole(name).sum()) for name in ("blackswan", "camel", "libby")} == {
        "blackswan": 8670,
        "camel": 22852,
        "libby": 21475,
    }
    assert (stationary_hole("camel") == stationary_hole("camel")).all()


def test_a_moving_hole_is_the_grown_mask_of_the_third_clip_on(root: Path) -> None:
    clip = load_clip(root, "bee", "O", n_frames=N_FRAMES)  # bee + 3 = ant
    assert (clip.holes[0] == box_hole(240, 432, (98, 78, 152, 122))).all()
    assert len(clip.holes) == len(clip.frames) == N_FRAMES


def test_moving_holes_go_forth_back_and_forth(tmp_path: Path) -> None:
    root = write_clips(tmp_path, n_frames=2)
    (root / "ant" / "masks" / "00001.png").write_bytes((root / "dog" / "masks" / "00001.png").read_bytes())
    first, second, *rest = moving_holes(root, "bee", n_frames=6)
    assert (first != second).any()
    assert [(hole == first).all() for hole in rest] == [False, True, True, False]


def test_a_removal_has_the_clips_own_object(root: Path) -> None:
    clip = load_removal(root, "cow", n_frames=2)
    assert (clip.holes[1] == box_hole(240, 432, (118, 78, 172, 122))).all()


def test_given_frames_are_black_in_the_hole(root: Path) -> None:
    clip = load_clip(root, "ant", "S", n_frames=1)
    frame, hole = clip.frames[0], clip.holes[0]
    assert not clip.given()[0][hole].any()
    assert (clip.given()[0][~hole] == frame[~hole]).all()
    white = clip.composited([np.full_like(frame, 255)])[0]
    assert (white[hole] == 255).all() and (white[~hole] == frame[~hole]).all()
    with pytest.raises(ValueError, match="zip"):
        clip.composited([])


def test_folders_without_clips_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        clip_names(tmp_path)
    (tmp_path / "fox" / "masks").mkdir(parents=True)
    with pytest.raises(InputError, match="no frames"):
        check_clip(tmp_path, "fox", ("S",), n_frames=2)
    with pytest.raises(InputError, match="no frames"):
        load_clip(tmp_path, "fox", "S", n_frames=2)
    (tmp_path / "fox" / "frames").mkdir()
    (tmp_path / "fox" / "frames" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="cannot read"):
        load_clip(tmp_path, "fox", "S", n_frames=2)
    with pytest.raises(UsageError, match="no clip 'cat'"):
        chosen_clips(tmp_path, ["cat"])


def test_masks_that_are_too_few_or_black_are_named(tmp_path: Path) -> None:
    root = write_clips(tmp_path, n_frames=4)
    for file in sorted((root / "ant" / "masks").iterdir())[1:]:
        file.unlink()
    assert check_clip(root, "bee", ("S", "O"), n_frames=3) == 3  # one mask, played three times
    assert check_clip(root, "ant", ("S",), n_frames=4) == 4
    with pytest.raises(MaskError, match=r"1 masks .*for 4 frames of bee; expected 2"):
        check_clip(root, "bee", ("S", "O"), n_frames=4)
    with pytest.raises(MaskError, match=r"1 masks .*for 4 frames of ant; expected 4"):
        check_clip(root, "ant", (), n_frames=4)
    black = root / "ant" / "masks" / "00000.png"
    from cv2 import imwrite

    imwrite(str(black), np.zeros((240, 432), np.uint8))
    with pytest.raises(MaskError, match="black everywhere"):
        load_clip(root, "bee", "O", n_frames=2)
