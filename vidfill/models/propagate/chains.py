"""Chains: known pixels carried from frame to frame into the hole by dense optical flow."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vidfill.align.homography import Matrix
from vidfill.models.propagate.candidates import Candidate, Region
from vidfill.models.propagate.fields import extrapolate
from vidfill.models.propagate.seen import Seen
from vidfill.video.frame import Float, Rgb

FLOW_SIGMAS_PX = (6.0, 15.0, 40.0, 100.0)
FLOW_POWER = 1.5
MIN_FLOW_SIDE = 32  # DIS needs a few 8x8 patches on its coarsest scale
COST_PER_STEP = 0.6
COST_PER_PX = 1.5
COST_PER_ERROR = 0.03
CHAIN_ERROR = 4.0
LOCAL_RATIO = 0.3  # of the error at the rim that is expected inside
UNKNOWN_COST = 100
BORDER_SIGMAS_PX = (4.0, 12.0, 40.0)
BORDER_POWER = 2.0


class Carried(NamedTuple):
    """What one step of a chain brought into a target's region."""

    candidate: Candidate
    cost: Float  # (h, w), grey levels, sum over its steps so far; `UNKNOWN_COST` where nothing arrived
    flow: Float  # (h, w, 2), pixels: the residual of the homography, smooth inside the hole


class Chain(NamedTuple):
    """The frame at which a chain has arrived."""

    position: int
    rgb: Rgb  # (H, W, 3), with what arrived in its hole
    cost: Float  # (H, W), 0 where the frame itself is known


def carry(chain: Chain, region: Region, matrix: Matrix, offset: int) -> Carried | None:
    """One step from a neighbour frame: warp by the homography `matrix` (target from neighbour), then by residual flow.

    Residual flow is measured outside the hole (DIS, Kroeger et al., ECCV 2016) and extrapolated into it as a smooth
    field. Its std around the hole is added to the cost. None where nothing of the picture lies in the hole.
    """
    to_box = region.from_frame(matrix)
    rgb = cv2.warpPerspective(chain.rgb, to_box, region.size_wh, borderMode=cv2.BORDER_REPLICATE)
    cost = cv2.warpPerspective(
        chain.cost, to_box, region.size_wh, flags=cv2.INTER_NEAREST, borderValue=(float(UNKNOWN_COST),)
    )
    guess = np.where(region.hole[..., None], rgb, region.rgb)
    flow = residual_flow(guess, np.asarray(rgb, np.uint8))
    squared = (flow**2).sum(axis=2, keepdims=True)
    smooth = extrapolate(
        np.dstack((flow, squared)), region.known & (cost == 0), sigmas_px=FLOW_SIGMAS_PX, power=FLOW_POWER
    )
    std = np.sqrt(np.maximum(smooth[..., 2] - (smooth[..., :2] ** 2).sum(axis=2), 0))
    flow = np.where(region.hole[..., None], smooth[..., :2], flow)
    height, width = region.hole.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    rgb = cv2.remap(rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cost = cv2.remap(cost, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(float(UNKNOWN_COST),))
    candidate = region.judge(np.asarray(rgb, np.uint8), np.asarray(cost < UNKNOWN_COST), offset)
    if candidate is None:
        return None
    steps = cost + COST_PER_STEP + COST_PER_PX * std + COST_PER_ERROR * candidate.error
    cost = np.where(candidate.valid, np.minimum(steps, UNKNOWN_COST), UNKNOWN_COST).astype(np.float32)
    error = CHAIN_ERROR + cost + LOCAL_RATIO * candidate.error
    valid = np.asarray(cost < UNKNOWN_COST)
    candidate = candidate._replace(valid=valid, error=error.astype(np.float32))
    return Carried(candidate, np.asarray(cost, np.float32), np.asarray(flow, np.float32))


def residual_flow(image: Rgb, other: Rgb) -> Float:
    """(H, W, 2) DIS flow in pixels, `image[y, x] = other[y + v, x + u]`; 0 for pictures that are too small."""
    if min(image.shape[:2]) < MIN_FLOW_SIDE:
        return np.zeros((*image.shape[:2], 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, other)]
    # None: a flow passed in would be taken for a first guess. The stubs do not know it.
    return np.asarray(dis.calc(grey[0], grey[1], None), np.float32)  # type: ignore[call-overload]


def go_on(position: int, frame: Seen, region: Region | None, carried: Carried | None) -> Chain:
    """The chain at a target: its own pixels, and in its region (None without a hole) what was carried there, if any."""
    rgb = frame.rgb
    cost = np.where(frame.known, np.float32(0), np.float32(UNKNOWN_COST))
    if region is None:
        return Chain(position, rgb, cost)
    inside, cost_inside = rgb[region.box.slices], cost[region.box.slices]
    if carried is not None:
        inside[region.hole] = carried.candidate.rgb[region.hole]
        cost_inside[region.hole] = carried.cost[region.hole]
    unknown = cost_inside >= UNKNOWN_COST
    # The next steps interpolate across this border: unknown pixels must not be black.
    border = extrapolate(inside.astype(np.float32), ~unknown, sigmas_px=BORDER_SIGMAS_PX, power=BORDER_POWER)
    inside[unknown] = border.round().clip(0, 255).astype(np.uint8)[unknown]
    return Chain(position, rgb, cost)
