"""Alignment in VINet: flow sub-networks, source aggregation and mask sub-networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.models.layers import GatedConv, LeakyConv, correlation

CONTEXT_DILATIONS = (1, 2, 4, 8, 16, 1)


class FlowSubnetwork(nn.Module):
    """Flow from a target's features to those of each source, at one scale (after PWC-Net, Sun et al., 2018).

    Convolutions on the target's features, the correlation and the flow of the coarser scale give a coarse flow; a
    context network of dilated convolutions refines it.

    Args:
        channels: of the features.
        estimator: channels of the convolutions before the coarse flow.
        context: channels of the six dilated convolutions of the context network.
        search_range_px: of the correlation.
        has_coarser: whether there is a coarser flow.
        normalise: normalise features over the channels before correlation. Features after a ReLU are positive, so that
            bright pixels would match everything, and training from scratch would take long to find any motion.
        normalise_target: normalise the target's features for the convolutions, too; else a loss of the flow alone
            shrinks them while those of the sources grow.
    """

    def __init__(
        self,
        channels: int,
        *,
        estimator: Sequence[int],
        context: Sequence[int],
        search_range_px: int,
        has_coarser: bool,
        normalise: bool = False,
        normalise_target: bool = False,
    ) -> None:
        super().__init__()
        self.normalise, self.normalise_target = normalise, normalise_target
        self.search_range_px = search_range_px
        n_in = channels + (2 * search_range_px + 1) ** 2 + (2 if has_coarser else 0)
        self.estimator = nn.Sequential(*(LeakyConv(a, b) for a, b in pairwise((n_in, *estimator))))
        self.coarse = nn.Conv2d(estimator[-1], 2, 3, padding=1)
        widths = zip(pairwise((estimator[-1] + 2, *context)), CONTEXT_DILATIONS, strict=True)
        last = LeakyConv(context[-1], 2)
        self.context = nn.Sequential(*(LeakyConv(a, b, dilation=dilation) for (a, b), dilation in widths), last)
        # Alignment starts at rest.
        for layer in (self.coarse, last):
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, target: Tensor, sources: Tensor, coarser: Tensor | None) -> Tensor:
        """Estimate the flow, or refine `coarser`, the flow so far in pixels of this scale, (S * B, 2, h, w).

        Args:
            target: (B, C, h, w).
            sources: (S * B, C, h, w), source by source, already warped by `coarser`.
            coarser: None at the coarsest scale.

        Returns:
            (S * B, 2, h, w) float32, flow from target to source in pixels of this scale.
        """
        matched = (_normalised(target), _normalised(sources)) if self.normalise else (target, sources)
        costs = correlation(*matched, self.search_range_px)
        varying = costs if coarser is None else torch.cat((costs, coarser.to(costs.dtype)), dim=1)
        shown = _normalised(target) if self.normalise_target else target
        x: Tensor = self.estimator[1:](self._first(shown, varying))
        coarse = self.coarse(x)
        flow: Tensor = coarse.float() + self.context(torch.cat((x, coarse), dim=1)).float()
        return flow if coarser is None else flow + coarser

    def _first(self, target: Tensor, varying: Tensor) -> Tensor:
        """The first convolution on (target, varying), the target's part computed once for all sources.

        (B, C, h, w) and (S * B, n, h, w) -> (S * B, estimator[0], h, w).
        """
        first = self.estimator[0]
        assert isinstance(first, LeakyConv)
        n_shared = target.shape[1]
        shared = F.conv2d(target, first.weight[:, :n_shared], first.bias, padding=1)
        own = F.conv2d(varying, first.weight[:, n_shared:], padding=1)
        return first.activate((own.view(-1, *shared.shape) + shared).flatten(0, 1))


def _normalised(x: Tensor) -> Tensor:
    """(B, C, H, W) with mean 0 and variance 1 over the channels of each pixel."""
    last = x.permute(0, 2, 3, 1)
    return F.layer_norm(last, last.shape[-1:], eps=1e-3).permute(0, 3, 1, 2)


class SourceAggregation(nn.Module):
    """The (5, 3, 3) gated convolution over the stack of aligned sources.

    Without padding along time it equals a 2-D convolution over the sources' channels side by side, and is computed so.
    """

    def __init__(self, channels: int, n_sources: int) -> None:
        super().__init__()
        self.n_sources = n_sources
        self.gated = GatedConv(n_sources * channels, channels)

    def forward(self, aligned: Tensor) -> Tensor:
        """(S * B, C, h, w), source by source -> (B, C, h, w)."""
        aggregated: Tensor = self.gated(torch.cat(aligned.chunk(self.n_sources), dim=1))
        return aggregated


class MaskSubnetwork(nn.Module):
    """Weight of aligned features against the target's own; 1 = only the aligned ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.convs = nn.Sequential(LeakyConv(channels, half), LeakyConv(half, half), nn.Conv2d(half, 1, 3, padding=1))

    def forward(self, target: Tensor, aligned: Tensor) -> Tensor:
        """Two (B, C, h, w) -> (B, 1, h, w) in [0, 1]."""
        return torch.sigmoid(self.convs((target - aligned).abs()))


def upsample_flow(flow: Tensor, size: tuple[int, int], *, factor: int) -> Tensor:
    """A flow interpolated to (height, width), its values times the factor of the strides between the scales."""
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factor
