"""How steady a filled clip is along the motion of the true one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

VISIBILITY_SHARPNESS = 50.0


def warp_error(output: Sequence[Frame], truth: Sequence[Frame]) -> float:
    """Mean squared difference of consecutive outputs, the earlier one carried along the true motion.

    The motion is DIS flow of the true frames. Pixels where the true frames themselves do not agree (squared
    difference d over the channels with `exp(-50 d) <= 0.5`) count as occluded and are left out.

    Args:
        output: (H, W, 3) uint8 RGB each.
        truth: the true frames, as many.

    Returns:
        The mean over pairs of frames, of values in [0, 1]; tables usually give it times 1,000. 0 for a single frame.

    Source: Lai et al., ECCV 2018, section 3.3 (visibility) and the temporal loss of section 4.
    """
    errors = [
        _pair_error(output[t], output[t + 1], truth[t], truth[t + 1], flow_to_earlier(truth[t], truth[t + 1]))
        for t in range(len(truth) - 1)
    ]
    return float(np.mean(errors)) if errors else 0.0


def flow_to_earlier(earlier: Frame, later: Frame) -> NDArray[np.float32]:
    """(H, W, 2) DIS flow, pixels: from each pixel of the later frame to its place in the earlier one."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (later, earlier)]
    # None: a flow passed in would be taken for a first guess. The stubs do not know it.
    return np.asarray(dis.calc(grey[0], grey[1], None), np.float32)  # type: ignore[call-overload]


def _pair_error(
    output_earlier: Frame, output_later: Frame, earlier: Frame, later: Frame, flow: NDArray[np.float32]
) -> float:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]

    def carried(frame: Frame) -> NDArray[np.float64]:
        return cv2.remap(frame, x, y, cv2.INTER_LINEAR).astype(np.float64) / 255

    true_difference = ((carried(earlier) - later / 255.0) ** 2).sum(2)
    is_visible = np.exp(-VISIBILITY_SHARPNESS * true_difference) > 0.5
    if not is_visible.any():
        return 0.0
    difference = ((carried(output_earlier) - output_later / 255.0) ** 2).mean(2)
    return float(difference[is_visible].mean())
