"""Filling without learned weights: known pixels of other frames, brought to the place they have in this one.

Source: the stages of flow- and homography-guided video completion (Gao et al., ECCV 2020; Lee et al., ICCV 2019) with
hand-made decisions in place of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.align.homography import Keypoints, find_keypoints, fit_homography, match
from vidfill.models.base import Model, Previous, ReferenceSpec, Step, View, WindowSpec


class Seen(NamedTuple):
    """One frame outside its hole: `rgb` uint8 (H, W, 3), `known` bool (H, W) and its keypoints."""

    rgb: NDArray[np.uint8]
    known: NDArray[np.bool_]
    keypoints: Keypoints


class Propagate(Model):
    """Real pixels of other frames, registered to the target by homographies; spatial fill for the rest."""

    spec = WindowSpec(references=ReferenceSpec(stride=6, near=1, reach=36))
    sizes: dict[str, Any] = {}

    def encode(self, frame: Tensor, hole: Tensor) -> list[Seen]:
        """One `Seen` for each clip of the batch."""
        return [_seen(f, h) for f, h in zip(frame, hole, strict=True)]

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Any,
    ) -> Step:
        """Fill the frames of a batch one by one."""
        fills = [
            _fill(target.features[b], [(abs(r.index - target.index), r.features[b]) for r in references])
            for b in range(len(target.features))
        ]
        stacked = torch.from_numpy(np.stack(fills)).permute(0, 3, 1, 2)
        return Step((stacked.to(target.frame) / 255).contiguous())


def _seen(frame: Tensor, hole: Tensor) -> Seen:
    rgb = (frame.detach().float() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    rgb = np.ascontiguousarray(rgb)
    known = hole[0].detach().cpu().numpy() < 0.5
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    return Seen(rgb, known, find_keypoints(grey, known))


def _fill(target: Seen, references: list[tuple[int, Seen]]) -> NDArray[np.float32]:
    height, width = target.known.shape
    fill = cv2.inpaint(target.rgb, (~target.known).astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.float32)
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    for distance, reference in references:
        matrix = fit_homography(*match(reference.keypoints, target.keypoints))
        if matrix is None:
            continue
        picture = cv2.warpPerspective(reference.rgb, matrix, (width, height)).astype(np.float32)
        valid = cv2.warpPerspective(reference.known.astype(np.float32), matrix, (width, height)) > 0.999
        both = valid & target.known
        if both.sum() < 100:
            continue
        error = np.abs(picture - target.rgb)[both].mean() + 0.05 * distance
        share = valid * np.float32(np.exp(-error / 3))
        total += picture * share[..., None]
        weight += share
    reached = weight > 1e-12
    fill[reached] = total[reached] / weight[reached, None]
    fill[target.known] = target.rgb[target.known]
    return fill
