"""How steady a filled clip is: along the motion of the true one, and beside the picture round the hole."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import find_keypoints, fit_homography, match
from vidfill.evaluate.protocol import Frames
from vidfill.video.frame import Bool

VISIBILITY_SHARPNESS = 50.0
FLICKER_RING_PX = 16
ROUNDING_LEVELS = 0.5  # change that 8-bit rounding makes on its own; keeps the ratio of two still pictures at 1


def warp_error(output: Frames, truth: Frames) -> float:
    """Mean squared difference of consecutive outputs, the earlier one warped along the true motion.

    The motion is DIS flow of the true frames. Pixels where the true frames themselves do not agree (squared difference
    d over the channels with `exp(-50 d) <= 0.5`) count as occluded and are left out.

    Returns:
        The mean over pairs of frames, of values in [0, 1]; tables usually give it times 1,000. 0 for a single frame.

    Source: Lai et al., ECCV 2018, section 3.3 (visibility) and the temporal loss of section 4.
    """
    errors = [
        _pair_error(output[t], output[t + 1], truth[t], truth[t + 1], flow_to_earlier(truth[t], truth[t + 1]))
        for t in range(len(truth) - 1)
    ]
    return float(np.mean(errors)) if errors else 0.0


def flicker(output: Frames, holes: Sequence[Bool]) -> float:
    """How much more a fill changes from frame to frame than the picture round it; needs no truth.

    Each frame is warped to the next by the homography of the background, estimated outside the holes (the identity
    where none is found). The mean absolute difference inside the hole is divided by that in a ring of 16 px round it.

    Returns:
        1 where the fill is as steady as the untouched picture, more where it flickers or lags, less where it is
        smoother; 1 for clips without a pair of frames or a ring to compare with.
    """
    keypoints = [
        find_keypoints(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8), ~hole)
        for frame, hole in zip(output, holes, strict=True)
    ]
    inside, ring = np.zeros(2), np.zeros(2)  # sum of the changes, and of how many pixels
    for t in range(1, len(output)):
        motion = fit_homography(*match(keypoints[t - 1], keypoints[t]))
        later_from_earlier = np.eye(3) if motion is None else motion
        size_wh = output[t].shape[1::-1]
        known = np.where(holes[t - 1], np.uint8(128), np.uint8(255))  # carried along: 0 is outside the picture
        carried, carried_known = (
            cv2.warpPerspective(picture, later_from_earlier, size_wh) for picture in (output[t - 1], known)
        )
        change = cv2.absdiff(carried, output[t]).mean(2)
        for total, where in (
            (inside, holes[t] & (carried_known >= 128)),
            (ring, ring_round(holes[t], FLICKER_RING_PX) & (carried_known == 255)),
        ):
            total += change[where].sum(), where.sum()
    if not inside[1] or not ring[1]:
        return 1.0
    return float((inside[0] / inside[1] + ROUNDING_LEVELS) / (ring[0] / ring[1] + ROUNDING_LEVELS))


def ring_round(hole: Bool, width_px: int) -> Bool:
    """(H, W) bool, the pixels outside a hole that are at most `width_px` from it."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width_px + 1, 2 * width_px + 1))
    return (cv2.dilate(hole.astype(np.uint8), disc) > 0) & ~hole


def flow_to_earlier(earlier: NDArray[np.uint8], later: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 2) DIS flow, pixels: from each pixel of the later frame to its place in the earlier one."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (later, earlier)]
    # None: a flow passed in would be taken for a first guess. The stubs do not know it.
    return np.asarray(dis.calc(grey[0], grey[1], None), np.float32)  # type: ignore[call-overload]


def _pair_error(
    output_earlier: NDArray[np.uint8],
    output_later: NDArray[np.uint8],
    earlier: NDArray[np.uint8],
    later: NDArray[np.uint8],
    flow: NDArray[np.float32],
) -> float:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]

    def carried(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        return cv2.remap(frame, x, y, cv2.INTER_LINEAR).astype(np.float64) / 255

    true_difference = ((carried(earlier) - later / 255.0) ** 2).sum(2)
    is_visible = np.exp(-VISIBILITY_SHARPNESS * true_difference) > 0.5
    if not is_visible.any():
        return 0.0
    difference = ((carried(output_earlier) - output_later / 255.0) ** 2).mean(2)
    return float(difference[is_visible].mean())
