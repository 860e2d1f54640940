"""Chains: known pixels carried from frame to frame into the hole by dense flow."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.align.homography import Matrix
from vidfill.models.propagate.candidates import Candidate, Kind, Region
from vidfill.models.propagate.fields import carry_inwards
from vidfill.models.propagate.seen import Seen

Rgb = NDArray[np.uint8]
Float = NDArray[np.float32]

FLOW_SIGMAS_PX = (6.0, 15.0, 40.0, 100.0)
FLOW_POWER = 1.5
MIN_FLOW_SIDE = 32  # DIS needs a few 8x8 patches on its coarsest scale
COST_PER_STEP = 0.6
COST_PER_PX = 1.5
COST_PER_ERROR = 0.03
CHAIN_ERROR = 4.0
LOCAL_SHARE = 0.3
UNKNOWN_COST = 100
BORDER_SIGMAS_PX = (4.0, 12.0, 40.0)
BORDER_POWER = 2.0


class Carried(NamedTuple):
    """What arrived in a target's region."""

    candidate: Candidate  # to be used in the target
    cost: Float  # (h, w) float32, grey levels: what its steps so far add up to; `UNKNOWN_COST` where nothing arrived
    flow: Float  # (h, w, 2) float32, pixels: what the homography left over, smooth inside the hole


class Chain(NamedTuple):
    """The whole of the frame that the chain has come to."""

    position: int  # of that frame
    rgb: Rgb  # (H, W, 3) uint8, the frame with what arrived in its hole
    cost: Float  # (H, W) float32, 0 where the frame itself is seen


def carry(chain: Chain, region: Region, matrix: Matrix, offset: int) -> Carried | None:
    """One step: the chain's picture brought to the target by a homography and then by flow.

    The flow of what the homography leaves over is measured outside the hole (DIS, Kroeger et al., ECCV 2016) and
    carried into it as a smooth field. Where it varies round the hole it is not to be trusted inside, and costs.

    Args:
        chain: the neighbour frame, filled as far as it goes.
        region: of the target.
        matrix: target from neighbour.
        offset: from the target to the neighbour.

    Returns:
        None where nothing of it belongs into the hole.
    """
    to_box = region.from_frame(matrix)
    rgb = cv2.warpPerspective(chain.rgb, to_box, region.size_wh, borderMode=cv2.BORDER_REPLICATE)
    cost = cv2.warpPerspective(
        chain.cost, to_box, region.size_wh, flags=cv2.INTER_NEAREST, borderValue=(float(UNKNOWN_COST),)
    )
    guess = np.where(region.hole[..., None], rgb, region.rgb)
    flow = residual_flow(guess, np.asarray(rgb, np.uint8))
    squared = (flow**2).sum(axis=2, keepdims=True)
    smooth = carry_inwards(
        np.dstack((flow, squared)), region.known & (cost == 0), sigmas_px=FLOW_SIGMAS_PX, power=FLOW_POWER
    )
    doubt = np.sqrt(np.maximum(smooth[..., 2] - (smooth[..., :2] ** 2).sum(axis=2), 0))
    flow = np.where(region.hole[..., None], smooth[..., :2], flow)
    height, width = region.hole.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    rgb = cv2.remap(rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cost = cv2.remap(cost, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(float(UNKNOWN_COST),))
    candidate = region.judge(np.asarray(rgb, np.uint8), np.asarray(cost < UNKNOWN_COST), offset)
    if candidate is None:
        return None
    steps = cost + COST_PER_STEP + COST_PER_PX * doubt + COST_PER_ERROR * candidate.error
    cost = np.where(candidate.valid, np.minimum(steps, UNKNOWN_COST), UNKNOWN_COST).astype(np.float32)
    error = CHAIN_ERROR + cost + LOCAL_SHARE * candidate.error
    valid = np.asarray(cost < UNKNOWN_COST)
    kind: Kind = "earlier" if offset < 0 else "later"
    candidate = candidate._replace(valid=valid, error=error.astype(np.float32), kind=kind)
    return Carried(candidate, np.asarray(cost, np.float32), np.asarray(flow, np.float32))


def residual_flow(image: Rgb, other: Rgb) -> Float:
    """(H, W, 2) DIS flow, pixels, `image[y, x] = other[y + v, x + u]`; 0 for pictures too small for it."""
    if min(image.shape[:2]) < MIN_FLOW_SIDE:
        return np.zeros((*image.shape[:2], 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (image, other)]
    # None: a flow passed in would be taken for a first guess. The stubs do not know it.
    return np.asarray(dis.calc(grey[0], grey[1], None), np.float32)  # type: ignore[call-overload]


def go_on(position: int, frame: Seen, region: Region | None, carried: Carried | None) -> Chain:
    """The chain after a step.

    Args:
        position: of the target.
        frame: the target.
        region: of the target, None where it has no hole.
        carried: what `carry` gave, None where the chain begins.
    """
    rgb = frame.rgb
    cost = np.where(frame.known, np.float32(0), np.float32(UNKNOWN_COST))
    if region is None:
        return Chain(position, rgb, cost)
    inside, cost_inside = rgb[region.rows, region.columns], cost[region.rows, region.columns]
    if carried is not None:
        inside[region.hole] = carried.candidate.rgb[region.hole]
        cost_inside[region.hole] = carried.cost[region.hole]
    unknown = cost_inside >= UNKNOWN_COST
    # The next step interpolates across this border, and the one after it farther in: no black may come in from there.
    border = carry_inwards(inside.astype(np.float32), ~unknown, sigmas_px=BORDER_SIGMAS_PX, power=BORDER_POWER)
    inside[unknown] = border.round().clip(0, 255).astype(np.uint8)[unknown]
    return Chain(position, rgb, cost)
