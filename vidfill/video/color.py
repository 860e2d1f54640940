"""Convert a box of a picture's planes to RGB, and blend RGB back into the planes without touching anything else.

RGB is full range, in the source's own primaries and transfer curve (PQ stays PQ); only range, matrix and chroma
subsampling are undone. Matrices: ITU-T H.273 (2024), table 4 and equations 11 to 51.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.video.frame import Box, Float, Frame, Samples, VideoInfo

_FULL_RANGE = 2
_RGB, _UNSTATED, _YCGCO = 0, 2, 8
_BT709, _BT601 = 1, 6

# Kr and Kb of the luma equation. 10 is BT.2020 with constant luminance, whose equations need linear light; like FFmpeg
# we use those of non-constant luminance. Other matrices (ICtCp and the like) are treated as untagged.
_LUMA_WEIGHTS = {
    _BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 B/G, the same as BT.601
    _BT601: (0.299, 0.114),
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),
}


def matrix_of(info: VideoInfo) -> int:
    """The matrix of the picture's YUV: the tagged one, else as players guess it from the size.

    Untagged pictures of more than 576 lines or at least 1280 columns are taken for BT.709, others for BT.601.
    """
    tagged = info.color.matrix
    if tagged in _LUMA_WEIGHTS or tagged in (_RGB, _YCGCO):
        return tagged
    return _BT709 if info.height > 576 or info.width >= 1280 else _BT601


def rgb_crop(frame: Frame, info: VideoInfo, box: Box) -> Float:
    """The pixels of a box of the coded picture, whose offsets may be odd: (box.height, box.width, 3) in [0, 1].

    Chroma is interpolated linearly from its sample positions (BT.601, MPEG-2 and H.264: in line with every second
    column, half way between two rows; JPEG: half way between columns too).
    """
    planes = frame.planes
    offset, scale, _ = _code_range(info)
    if info.pixel_format.kind == "gray":
        gray = (planes[0][box.slices].astype(np.float32) - offset) * np.float32(1 / scale)
        return _float(cv2.merge([np.clip(gray, 0, 1)] * 3))
    if info.pixel_format.kind == "rgb":
        green, blue, red = (plane[box.slices] for plane in planes[:3])
        rgb = (cv2.merge([red, green, blue]).astype(np.float32) - np.float32(offset)) * np.float32(1 / scale)
    else:
        luma = planes[0][box.slices].astype(np.float32)
        chroma = [_upsampled(plane, info, box) for plane in planes[1:3]]
        rgb = _float(cv2.transform(cv2.merge([luma, *chroma]), _to_rgb(*_conversion(info))))
    return np.clip(rgb, 0, 1, out=rgb)


def paste_rgb(frame: Frame, info: VideoInfo, box: Box, rgb: Float, alpha: Float, *, makes_opaque: bool = False) -> None:
    """Blend a filled crop into the picture's own samples, in place.

    A sample whose alpha is 0 keeps its bits; so does a chroma sample when the alpha of its whole block is 0. A chroma
    sample whose block is partly covered is blended in proportion, with the colour of the covered part alone.

    Args:
        frame: the picture.
        info: its source.
        box: of the crop in the coded picture.
        rgb: (box.height, box.width, 3) in [0, 1].
        alpha: (box.height, box.width) in [0, 1], 1 where only the fill shows.
        makes_opaque: whether the picture's own alpha plane becomes opaque where the fill shows.
    """
    offset, scale, _ = _code_range(info)
    planes, kind = frame.planes, info.pixel_format.kind
    rgb, alpha = _float(rgb), _float(alpha)
    if makes_opaque and info.pixel_format.has_alpha:
        _blend(planes[-1][box.slices], np.full_like(alpha, (1 << info.pixel_format.depth) - 1), alpha, info)
    if kind == "rgb":
        for plane, channel in zip(planes[:3], (1, 2, 0), strict=True):  # planes lie in the order G, B, R
            _blend(plane[box.slices], rgb[..., channel] * np.float32(scale) + np.float32(offset), alpha, info)
        return
    if kind == "gray":
        weights = np.array([[0.299, 0.587, 0.114, 0]], np.float32) * scale
        weights[0, 3] = offset
        _blend(planes[0][box.slices], _float(cv2.transform(rgb, weights)), alpha, info)
        return
    yuv = _float(cv2.transform(rgb, _from_rgb(*_conversion(info))))
    _blend(planes[0][box.slices], yuv[..., 0], alpha, info)
    chroma, coverage, chroma_box = _downsampled(yuv, alpha, info, box)
    for plane, channel in zip(planes[1:3], (0, 1), strict=True):
        _blend(plane[chroma_box.slices], chroma[..., channel], coverage, info)


def _blend(samples: Samples, new: Float, alpha: Float, info: VideoInfo) -> None:
    """Mix in place; exact where alpha is 0, since float32 holds samples of up to 16 bits exactly."""
    old = samples.astype(np.float32)
    mixed = old + alpha * (new - old)
    np.rint(mixed, out=mixed)
    samples[...] = np.clip(mixed, 0, (1 << info.pixel_format.depth) - 1, out=mixed)


def _code_range(info: VideoInfo) -> tuple[float, float, float]:
    """Code value of black, and the number of code values of luma (black to white) and of chroma.

    If not stated, YUV has limited range, RGB and gray full range, as in FFmpeg.
    """
    depth, stated = info.pixel_format.depth, info.color.range
    if stated == _FULL_RANGE or (stated == 0 and info.pixel_format.kind != "yuv"):
        top = float((1 << depth) - 1)
        return 0.0, top, top
    step = float(1 << (depth - 8))
    return 16 * step, 219 * step, 224 * step


def _conversion(info: VideoInfo) -> tuple[int, int, tuple[float, float, float]]:
    return matrix_of(info), info.pixel_format.depth, _code_range(info)


@lru_cache(maxsize=16)
def _from_rgb(matrix: int, depth: int, ranges: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 4): code values of Y, U and V from (R, G, B, 1) with R, G and B in [0, 1]."""
    black, luma_scale, chroma_scale = ranges
    if matrix == _RGB:  # the planes hold G, B, R, all with the range of luma
        order = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
        return np.hstack([order * luma_scale, np.full((3, 1), black)])
    if matrix == _YCGCO:
        rows = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]])
    else:
        red, blue = _LUMA_WEIGHTS[matrix]
        luma = np.array([red, 1 - red - blue, blue])
        from_blue, from_red = np.array([0, 0, 1]) - luma, np.array([1, 0, 0]) - luma
        rows = np.stack([luma, from_blue / (2 - 2 * blue), from_red / (2 - 2 * red)])
    middle = float(1 << (depth - 1))
    scaled = rows * np.array([[luma_scale], [chroma_scale], [chroma_scale]])
    return np.hstack([scaled, np.array([[black], [middle], [middle]])])


@lru_cache(maxsize=16)
def _to_rgb(matrix: int, depth: int, ranges: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 4): R, G and B in [0, 1] from (Y, U, V, 1) in code values; the inverse of `_from_rgb`."""
    forward = _from_rgb(matrix, depth, ranges)
    inverse = np.linalg.inv(forward[:, :3])
    return np.hstack([inverse, -inverse @ forward[:, 3:]])


def chroma_site(info: VideoInfo) -> tuple[float, float]:
    """Position (x, y) of the first chroma sample, in luma samples from the first luma sample."""
    shift_x, shift_y = info.pixel_format.chroma_shift
    is_jpeg = info.codec in ("mjpeg", "webp")
    return ((1 << shift_x) - 1) / 2 if is_jpeg else 0.0, ((1 << shift_y) - 1) / 2


def _upsampled(plane: Samples, info: VideoInfo, box: Box) -> Float:
    """Chroma at every pixel of a box, (box.height, box.width), in code values."""
    shift_x, shift_y = info.pixel_format.chroma_shift
    if (shift_x, shift_y) == (0, 0):
        return plane[box.slices].astype(np.float32)
    # The box's samples and one more on each side; beyond the picture its border is repeated.
    x0, y0 = max(0, (box.x0 >> shift_x) - 1), max(0, (box.y0 >> shift_y) - 1)
    read = plane[y0 : (box.y1 >> shift_y) + 2, x0 : (box.x1 >> shift_x) + 2].astype(np.float32)
    site_x, site_y = chroma_site(info)
    step_x, step_y = 2.0**-shift_x, 2.0**-shift_y
    matrix = np.array([[step_x, 0, (box.x0 - site_x) * step_x - x0], [0, step_y, (box.y0 - site_y) * step_y - y0]])
    flags, size_wh = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (box.width, box.height)
    return _float(cv2.warpAffine(read, matrix, size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _downsampled(yuv: Float, alpha: Float, info: VideoInfo, box: Box) -> tuple[Float, Float, Box]:
    """Chroma samples of a crop.

    Returns:
        (h, w, 2) code values of U and V, the mean over the pixels that alpha covers, weighted by the siting; (h, w) how
        much of each sample's block alpha covers; the box of the samples in the chroma plane.
    """
    shift_x, shift_y = info.pixel_format.chroma_shift
    if (shift_x, shift_y) == (0, 0):
        return yuv[..., 1:], alpha, box
    step_x, step_y = 1 << shift_x, 1 << shift_y
    chroma_box = Box(box.x0 >> shift_x, box.y0 >> shift_y, -(-box.x1 >> shift_x), -(-box.y1 >> shift_y))
    left, top = box.x0 - chroma_box.x0 * step_x, box.y0 - chroma_box.y0 * step_y
    # One block more on the left: a sample in line with its first column also represents the columns before it.
    weighted = np.zeros((chroma_box.height * step_y, (chroma_box.width + 1) * step_x, 3), np.float32)
    inside = weighted[top : top + box.height, step_x + left : step_x + left + box.width]
    inside[..., 0] = alpha
    np.multiply(yuv[..., 1:], alpha[..., None], out=inside[..., 1:])
    # A triangle of taps (1 2 1 for two columns) is the sum of the block means that start 0 .. step_x - 1 to the left.
    in_line = chroma_site(info)[0] == 0
    size_wh, width = (chroma_box.width, chroma_box.height), chroma_box.width * step_x
    means = [
        _float(cv2.resize(weighted[:, step_x - back :][:, :width], size_wh, interpolation=cv2.INTER_AREA))
        for back in range(step_x if in_line else 1)
    ]
    sums = sum(means[1:], start=means[0])
    chroma = sums[..., 1:] / np.maximum(sums[..., :1], 1e-6)  # where nothing is covered, the colour is not used
    # Blocks at the right and lower border of odd pictures have fewer pixels.
    rows = np.minimum(step_y, info.height - (np.arange(chroma_box.y0, chroma_box.y1) << shift_y))
    columns = np.minimum(step_x, info.width - (np.arange(chroma_box.x0, chroma_box.x1) << shift_x))
    coverage = means[0][..., 0] * (step_x * step_y) / np.outer(rows, columns).astype(np.float32)
    return _float(chroma), _float(coverage), chroma_box


def _float(array: NDArray[Any]) -> Float:
    """Narrow the type of OpenCV's results, which are float32 already."""
    return array.astype(np.float32, copy=False)
