"""Masks in every form that users have, one boolean picture a frame."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from tests.clips import crossing_object, moving_texture, truncate, write_clip, write_images
from vidfill.errors import InputError, MaskError, UsageError
from vidfill.masks.files import MaskSource, open_masks
from vidfill.masks.images import read_mask
from vidfill.settings import MaskSettings
from vidfill.video.frame import Bool, Frame, VideoInfo
from vidfill.video.read import Reader

SIZE = (48, 64)
N = 9


def _masks(n: int = N, size: tuple[int, int] = SIZE) -> Bool:
    return crossing_object(np.zeros((n, *size, 3), np.uint8))[1]


def _grey_pictures(masks: Bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.repeat(masks[..., None].astype(np.uint8) * 255, 3, axis=3)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mp4", n=N, size=SIZE, gop=4).path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "in", moving_texture(N, SIZE))
    return tmp_path / "in"


def _open(source: Path, spec: MaskSettings) -> MaskSource:
    with Reader(source) as reader:
        return open_masks(spec, reader.info, rate=reader.info.rate)


def _read(source: Path, spec: MaskSettings, indices: Sequence[int] | None = None) -> list[Bool]:
    """The masks of a source's frames; of some of them only if `indices` are given."""
    masks = _open(source, spec)
    with Reader(source) as reader, masks.cursor() as cursor:
        frames = [frame for frame in reader.frames() if indices is None or frame.index in indices]
        return [cursor.at(frame) for frame in frames]


def test_a_folder_is_matched_by_order(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "masks"
    write_images(folder, _masks(), digits=1, start=5)  # 5.png to 13.png: natural order, not that of the alphabet
    for mask, expected in zip(_read(video, MaskSettings(mask=folder)), _masks(), strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_a_cursor_may_jump_ahead(tmp_path: Path, video: Path) -> None:
    write_images(tmp_path / "masks", _masks())
    masks = _read(video, MaskSettings(mask=tmp_path / "masks"), [2, 7])
    np.testing.assert_array_equal(masks, _masks()[[2, 7]])


@pytest.mark.parametrize("n_masks", [N - 1, N + 1])
def test_counts_must_agree(tmp_path: Path, video: Path, n_masks: int) -> None:
    write_images(tmp_path / "masks", _masks(n_masks))
    masks = _open(video, MaskSettings(mask=tmp_path / "masks"))
    with pytest.raises(MaskError, match=rf"{n_masks} masks in .*masks for {N} frames.*-fps_mode passthrough") as error:
        masks.check_count(N)
    assert error.value.exit_code == 4 and "\n" not in str(error.value)
    masks.check_count(n_masks)


def test_a_folder_of_one_is_told_what_to_do(tmp_path: Path, video: Path) -> None:
    write_images(tmp_path / "masks", _masks(1))
    with pytest.raises(MaskError, match=r"1 mask in .*give the image itself"):
        _open(video, MaskSettings(mask=tmp_path / "masks")).check_count(N)


def test_images_are_matched_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["shot2_b", "shot10_a", "shot1_c"]
    masks = _masks(3)
    for name, picture, mask in zip(names, moving_texture(3, SIZE), masks, strict=True):
        for folder, pixels in (("in", picture), ("masks", mask.astype(np.uint8) * 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            suffix = ".jpg" if folder == "in" else ".png"
            assert cv2.imwrite(str(tmp_path / folder / (name + suffix)), pixels)
    read = _read(tmp_path / "in", MaskSettings(mask=tmp_path / "masks"))
    np.testing.assert_array_equal(read, masks[[2, 0, 1]])  # shot1, shot2, shot10
    assert not caplog.records


def test_images_of_other_names_are_matched_by_order_with_a_note(
    tmp_path: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path / "masks", _masks(), start=1)
    np.testing.assert_array_equal(_read(images, MaskSettings(mask=tmp_path / "masks")), _masks())
    assert [r.getMessage() for r in caplog.records if "00001.png to 00000.png" in r.getMessage()]


def test_images_without_a_mask_are_not_taken_for_empty(tmp_path: Path, images: Path) -> None:
    write_images(tmp_path / "masks", _masks(N - 2))
    with pytest.raises(MaskError, match=rf"{N - 2} masks in .* for {N} frames"):
        _open(images, MaskSettings(mask=tmp_path / "masks"))


def test_one_image_serves_all_frames_as_one_array(tmp_path: Path, video: Path) -> None:
    write_images(tmp_path / "masks", _masks(1))
    read = _read(video, MaskSettings(mask=tmp_path / "masks" / "00000.png"))
    np.testing.assert_array_equal(read[0], _masks(1)[0])
    assert len(read) == N and all(mask is read[0] for mask in read)
    assert not read[0].flags.writeable


def test_a_repeated_mask_is_given_out_as_one_array(tmp_path: Path, video: Path) -> None:
    masks = np.repeat(_masks(3), 3, axis=0)
    write_images(tmp_path / "masks", masks)
    read = _read(video, MaskSettings(mask=tmp_path / "masks"))
    np.testing.assert_array_equal(read, masks)
    assert len({id(mask) for mask in read}) == 3


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [("libx264", "yuv420p", "m.mp4"), ("ffv1", "gray", "m.mkv"), ("ffv1", "gbrp10le", "m.mkv")],
)
def test_a_video_is_matched_by_position(tmp_path: Path, video: Path, codec: str, pix_fmt: str, name: str) -> None:
    options = {"crf": "10"} if codec == "libx264" else {}
    mask_video = write_clip(
        tmp_path / name, pictures=_grey_pictures(_masks()), codec=codec, pix_fmt=pix_fmt, options=options, rate=10
    )
    read = _read(video, MaskSettings(mask=mask_video.path))
    if codec == "ffv1":
        np.testing.assert_array_equal(read, _masks())
    else:
        assert (np.array(read) ^ _masks()).mean() < 0.01  # an edge pixel here and there


def test_studio_range_is_reckoned_in(tmp_path: Path, video: Path) -> None:
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, None, :, None], SIZE[0], axis=1)
    pictures = np.repeat(np.repeat(ramp, 3, axis=3), N, axis=0)
    path = write_clip(tmp_path / "m.mkv", pictures=pictures, codec="ffv1").path
    np.testing.assert_array_equal(_read(video, MaskSettings(mask=path))[0], pictures[0, ..., 0] > 127)


def test_a_second_reading_of_a_video_starts_in_the_middle(tmp_path: Path, video: Path) -> None:
    path = write_clip(tmp_path / "m.mkv", pictures=_grey_pictures(_masks()), codec="ffv1", pix_fmt="gray").path
    masks = _open(video, MaskSettings(mask=path))
    with Reader(video) as reader:
        frames = list(reader.frames())
    for start in (0, 6, 3):
        with masks.cursor() as cursor:
            np.testing.assert_array_equal([cursor.at(frame) for frame in frames[start:]], _masks()[start:])
    masks.check_count(N)


@pytest.mark.parametrize("n_masks", [N - 2, N + 2])
@pytest.mark.parametrize("n_read", [0, N])
def test_the_frames_of_a_video_are_counted(tmp_path: Path, video: Path, n_masks: int, n_read: int) -> None:
    path = write_clip(tmp_path / "m.mp4", pictures=_grey_pictures(_masks(n_masks))).path
    masks = _open(video, MaskSettings(mask=path))
    with Reader(video) as reader, masks.cursor() as cursor:
        for frame in list(reader.frames())[:n_read]:
            cursor.at(frame)
    with pytest.raises(MaskError, match=rf"{n_masks} masks in .*m\.mp4 for {N} frames"):
        masks.check_count(N)


def test_a_turned_mask_video_is_seen_as_shown(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", n=N, size=SIZE, rotation=90).path
    plain = write_clip(tmp_path / "turned.mp4", pictures=_grey_pictures(_masks()), rotation=90, options={"crf": "5"})
    with Reader(source) as reader:
        orientation = reader.info.orientation
    assert orientation.quarter_turns % 2
    shown = np.stack([orientation.to_display(mask) for mask in _masks()])
    straight = write_clip(tmp_path / "straight.mp4", pictures=_grey_pictures(shown), options={"crf": "5"})
    for path in (plain.path, straight.path):
        assert (np.array(_read(source, MaskSettings(mask=path))) ^ _masks()).mean() < 0.01


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_masks_on_frames_written_by_ffmpeg_fit(tmp_path: Path, rotation: int) -> None:
    """As users make them: frames of a turned, variable-rate clip dumped as images and painted over."""
    source = write_clip(
        tmp_path / "in.mp4", pictures=_grey_pictures(_masks()), rotation=rotation, vfr=True, options={"crf": "5"}
    ).path
    (tmp_path / "dump").mkdir()
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-fps_mode", "passthrough"]
    subprocess.run([*ffmpeg, str(tmp_path / "dump" / "%d.png")], check=True)
    read = _read(source, MaskSettings(mask=tmp_path / "dump"))
    assert len(read) == N and (np.array(read) ^ _masks()).mean() < 0.01


def test_alpha_below_half_is_hole(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mov", n=4, size=SIZE, codec="prores_ks", pix_fmt="yuva444p10le", with_object=True)
    read = np.array(_read(clip.path, MaskSettings(mask="alpha")))
    np.testing.assert_array_equal(read, clip.masks)
    np.testing.assert_array_equal(_read(clip.path, MaskSettings(mask="alpha", invert=True)), ~clip.masks)


def test_alpha_of_images(tmp_path: Path) -> None:
    pictures = np.dstack([np.full((*SIZE, 3), 90, np.uint8), np.full(SIZE, 128, np.uint8)])[None].repeat(2, axis=0)
    pictures[:, 5:9, 7:20, 3] = 127
    write_images(tmp_path / "in", pictures)
    np.testing.assert_array_equal(_read(tmp_path / "in", MaskSettings(mask="alpha")), pictures[..., 3] == 127)


def test_no_alpha(video: Path) -> None:
    with pytest.raises(MaskError, match="no alpha channel.*yuv420p"):
        _open(video, MaskSettings(mask="alpha"))


def test_inverted_masks_and_boxes_that_are_not(tmp_path: Path, video: Path) -> None:
    write_images(tmp_path / "masks", _masks())
    box = np.zeros(SIZE, np.bool_)
    box[20:30, 30:36] = True
    read = _read(video, MaskSettings(mask=tmp_path / "masks", box=("30,20,6,10",), invert=True))
    np.testing.assert_array_equal(read, ~_masks() | box)


def test_start_and_end_apply_to_masks_and_boxes(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", n=N, size=SIZE, start_pts=50).path  # starts at two seconds
    write_images(tmp_path / "masks", _masks())
    spec = MaskSettings(mask=tmp_path / "masks", box=("0,0,5,5@#5-",), start="0.08", end="#7")
    read = _read(source, spec)
    for i, mask in enumerate(read):
        expected = _masks()[i] if 2 <= i < 7 else np.zeros(SIZE, np.bool_)
        expected[:5, :5] |= 5 <= i < 7
        np.testing.assert_array_equal(mask, expected)


def test_an_unreadable_mask_is_named_when_its_turn_comes(tmp_path: Path, video: Path) -> None:
    paths = write_images(tmp_path / "masks", _masks())
    paths[4].write_bytes(paths[4].read_bytes()[:40])
    assert len(_read(video, MaskSettings(mask=tmp_path / "masks"), [0, 1, 2, 3])) == 4
    with pytest.raises(MaskError, match=r"00004\.png"):
        _read(video, MaskSettings(mask=tmp_path / "masks"))


def test_an_unreadable_mask_video_is_a_mask_problem(tmp_path: Path, video: Path) -> None:
    path = write_clip(tmp_path / "m.mp4", pictures=_grey_pictures(_masks())).path
    truncate(path, tmp_path / "short.mp4", keep=0.5)
    for broken in (tmp_path / "short.mp4", tmp_path / "text.mp4"):
        if not broken.exists():
            broken.write_text("no video")
        with pytest.raises(MaskError, match=rf"{broken.name} cannot be read as a video"):
            _open(video, MaskSettings(mask=broken))


def test_faults_of_the_source_stay_faults_of_the_source(tmp_path: Path, video: Path) -> None:
    path = write_clip(tmp_path / "m.mp4", pictures=_grey_pictures(_masks())).path
    masks = _open(video, MaskSettings(mask=path))
    with pytest.raises(InputError, match="^the source$"), masks.cursor():
        raise InputError("the source")


def test_masks_are_read_one_at_a_time(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "masks", _masks())
    read: list[str] = []

    def counted(path: Path, **kwargs: object) -> Bool:
        read.append(path.name)
        return read_mask(path, note=lambda text: None)

    monkeypatch.setattr("vidfill.masks.layers.read_mask", counted)
    masks = _open(video, MaskSettings(mask=tmp_path / "masks"))
    assert not read
    with Reader(video) as reader, masks.cursor() as cursor:
        for i, frame in enumerate(reader.frames()):
            assert len(read) == i
            cursor.at(frame)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (MaskSettings(), "no mask"),
        (MaskSettings(box=("1,1,5,5",), invert=True), "--invert without --mask"),
        (MaskSettings(box=("1,1,5",)), "the box"),
        (MaskSettings(box=("1,1,5,5",), start="soon"), "the time 'soon'"),
    ],
)
def test_contradictions_are_usage_errors(video: Path, spec: MaskSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _open(video, spec)


def test_missing_masks(tmp_path: Path, video: Path) -> None:
    with pytest.raises(MaskError, match="no mask at"):
        _open(video, MaskSettings(mask=tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaskError, match="no images in the mask folder"):
        _open(video, MaskSettings(mask=tmp_path / "empty"))


def test_scaled_masks_are_noted_once(tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "masks", _masks(size=(SIZE[0] * 2, SIZE[1] * 2)))
    read = _read(video, MaskSettings(mask=tmp_path / "masks"))
    assert len(read) == N and read[0].shape == SIZE
    assert len([r for r in caplog.records if "scaled" in r.getMessage()]) == 1


def test_times_are_rounded_at_the_rate_that_is_given(video: Path) -> None:
    with Reader(video) as reader:
        info: VideoInfo = reader.info
        frames: list[Frame] = list(reader.frames())
    for rate, first in ((Fraction(25), 2), (Fraction(5), 0)):
        with open_masks(MaskSettings(box=("0,0,5,5",), start="0.09"), info, rate=rate).cursor() as cursor:
            assert next(frame.index for frame in frames if cursor.at(frame).any()) == first
