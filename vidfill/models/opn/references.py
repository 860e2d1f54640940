"""Chooses the references of the bank from which a frame reads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.models.base import View
from vidfill.models.opn.peels import CELL_PX

# A reference that newly uncovers less than this ratio of the hole is not chosen for what it uncovers.
MIN_USEFUL_RATIO = 0.02
# Phase correlation of two frames of one scene peaks at up to 1; of others it is noise with a std of 1 / sqrt(cells),
# which exceeds this many stds in fewer than one of ten thousand cells.
MIN_PEAK = 6.0


def choose(target: View, references: Sequence[View], *, n_max: int) -> list[View]:
    """Up to `n_max` references that uncover most of a hole and are spread most evenly over time, ascending by position.

    Greedily the reference that shows most of what lies behind the hole and is not shown yet (the nearest of equals),
    judged after the `shifts` of whole pictures. The rest of the budget goes to the references farthest in time, on a
    logarithmic scale, from those chosen and from the target.
    """
    if len(references) <= n_max:
        return list(references)
    by_distance = sorted(range(len(references)), key=lambda i: abs(references[i].index - target.index))
    chosen = _uncovering(target, [references[i] for i in by_distance], n_max)
    chosen = [by_distance[i] for i in chosen]
    times = [_log_time(view.index - target.index) for view in references]
    while len(chosen) < n_max:
        taken = [0.0, *(times[i] for i in chosen)]
        free = [i for i in by_distance if i not in chosen]
        chosen.append(max(free, key=lambda i: min(abs(times[i] - time) for time in taken)))
    return [references[i] for i in sorted(chosen)]


def spectrum(frame: Tensor, hole: Tensor) -> Tensor:
    """The phases of a frame for `shifts`: of the mean brightness of known pixels in cells, with a Hann window.

    Returns:
        (B, h, w // 2 + 1) complex, each of magnitude 1 (or 0).
    """
    grey = F.avg_pool2d(frame.float().mean(dim=1), CELL_PX)
    known = F.avg_pool2d(1 - hole[:, 0].float(), CELL_PX)
    mean = grey.sum(dim=(1, 2), keepdim=True) / known.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    fade = [torch.hann_window(n + 2, periodic=False, device=frame.device)[1:-1] for n in grey.shape[1:]]
    waves: Tensor = torch.fft.rfft2((grey - mean * known) * fade[0][:, None] * fade[1])
    magnitudes: Tensor = waves.abs().clamp(min=1e-6)
    return waves / magnitudes


def shifts(target: Tensor, references: Tensor, size: tuple[int, int]) -> Tensor:
    """Translations between references and a frame by phase correlation (Kuglin and Hines, 1975).

    From spectra (B, h, w // 2 + 1) and (R, B, h, w // 2 + 1) of maps of (h, w) cells.

    Returns:
        (R, B, 2): whole cells (down, right) by which to move a reference onto the frame; 0 without a clear peak.
    """
    height, width = size
    peaks, at = torch.fft.irfft2(target * references.conj(), s=size).flatten(-2).max(dim=-1)
    down, right = at // width, at % width
    down, right = down - height * (down > height // 2).long(), right - width * (right > width // 2).long()
    offsets = torch.stack((down, right), dim=-1)
    return torch.where((peaks > MIN_PEAK / (height * width) ** 0.5).unsqueeze(-1), offsets, 0)


def moved(known: Tensor, down: int, right: int) -> Tensor:
    """Masks (1, h, w) moved by whole cells; nothing is known beyond the edges."""
    height, width = known.shape[-2:]
    target = torch.zeros_like(known)
    rows, columns = (
        (slice(max(0, by), min(n, n + by)), slice(max(0, -by), min(n, n - by)))
        for by, n in ((down, height), (right, width))
    )
    target[:, rows[0], columns[0]] = known[:, rows[1], columns[1]]
    return target


def _uncovering(target: View, references: Sequence[View], n_max: int) -> list[int]:
    """The references that show some of the hole that earlier ones do not, the most useful one first."""
    missing: Tensor = ~target.features.known
    spectra = torch.stack([view.features.spectrum for view in references])
    offsets = shifts(target.features.spectrum, spectra, (missing.shape[-2], missing.shape[-1])).tolist()
    shows = torch.stack(
        [
            torch.stack([moved(mask, *offset) for mask, offset in zip(view.features.known, by, strict=True)])
            for view, by in zip(references, offsets, strict=True)
        ]
    )
    chosen: list[int] = []
    left = missing
    while len(chosen) < n_max:
        gains = (shows & left).sum(dim=(1, 2, 3, 4)).tolist()
        best = max(range(len(gains)), key=lambda i: gains[i])
        if gains[best] <= MIN_USEFUL_RATIO * float(missing.sum()):
            break
        chosen.append(best)
        left = left & ~shows[best]
    return chosen


def _log_time(offset: int) -> float:
    return math.copysign(math.log1p(abs(offset)), offset)
