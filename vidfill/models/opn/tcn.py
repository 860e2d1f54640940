"""TCN: the temporal consistency network of Onion-Peel Networks (section 3.3), and the two in one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from vidfill.models.base import Step, Window
from vidfill.models.checkpoint import LearnedModel, plain_sizes
from vidfill.models.opn.attention import EncodedFrame
from vidfill.models.opn.authors import TEMPORAL_LAYERS, load_authors
from vidfill.models.opn.model import OPN, OPNSizes, put
from vidfill.models.opn.network import (
    FIRST_SCALE,
    LINEAR,
    N_CARRIED,
    carries_colours,
    carry,
    denormalise,
    gated,
    join_colours,
    normalise,
    split_colours,
    twice,
)
from vidfill.models.opn.peels import Slices, covering, grown, in_pixels
from vidfill.models.opn.references import choose

Channels = tuple[int, int, int, int]
TEMPORAL_CHANNELS: Channels = (32, 64, 128, 256)
CELL_PX = 8  # of the memory, each way
NOW_AT = 4  # first channel of the colours of the current frame in the encoder's input
TEMPORAL_REACH = 7  # receptive field in cells: 2 + 1 of the convolutions on them, 32 pixels of those after them


@dataclass(frozen=True, slots=True)
class OPNTCNSizes:
    """Sizes of the two networks."""

    opn: OPNSizes = OPNSizes()  # noqa: RUF009 - frozen
    temporal: Channels = TEMPORAL_CHANNELS  # at the frame's scale, a half, a quarter and an eighth of it

    def __post_init__(self) -> None:
        if len(self.temporal) != 4 or any(type(width) is not int or width < 1 for width in self.temporal):
            raise ValueError("temporal has four widths, each 1 or more")


class GRUMemory(NamedTuple):
    """State of the temporal network: hidden (B, C, h, w) float32, on cells of 8x8 pixels."""

    hidden: Tensor


class TemporalFeatures(NamedTuple):
    """Features at the frame's scale, a half, a quarter and an eighth of it, each (B, C, h, w)."""

    at1: Tensor
    at2: Tensor
    at4: Tensor
    at8: Tensor


class TemporalEncoder(nn.Module):
    """Encoder of the previous output and the current frame, with their holes."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.at1 = gated(8, full, kernel=5)
        self.at2 = nn.Sequential(gated(full, half, stride=2), gated(half, half))
        self.at4 = nn.Sequential(gated(half, quarter, stride=2), gated(quarter, quarter), gated(quarter, quarter))
        self.at8 = nn.Sequential(gated(quarter, eighth, stride=2), gated(eighth, eighth), gated(eighth, eighth))

    def forward(self, x: Tensor) -> TemporalFeatures:
        """(B, 8, H, W) -> features."""
        at1 = self.at1(x)
        at2 = self.at2(at1)
        at4 = self.at4(at2)
        return TemporalFeatures(at1, at2, at4, self.at8(at4))


class TemporalDecoder(nn.Module):
    """From the memory to a normalised frame; the encoder's features are added at each scale."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.at8 = nn.Sequential(gated(eighth, eighth, dilation=2), gated(eighth, eighth))
        self.to_at4 = gated(eighth, quarter)
        self.at4 = nn.Sequential(gated(quarter, quarter, dilation=2), gated(quarter, quarter))
        self.to_at2 = gated(quarter, half)
        self.at2 = gated(half, half)
        self.to_at1 = gated(half, full)
        self.rgb = gated(full, 3, kernel=5, slope=LINEAR, scale=FIRST_SCALE)

    def forward(self, x: Tensor, skips: TemporalFeatures) -> Tensor:
        """(B, C, h, w) -> (B, 3, 8 h, 8 w)."""
        x = self.at4(self.to_at4(twice(self.at8(x))) + skips.at4)
        x = self.at2(self.to_at2(twice(x)) + skips.at2)
        rgb: Tensor = self.rgb(self.to_at1(twice(x)) + skips.at1)
        return rgb


class ConvGRU(nn.Module):
    """Convolutional gated recurrent unit (Ballas et al., 2016): reset, update and candidate, in this order."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates_of_input = nn.Conv2d(channels, 3 * channels, 3, padding=1)
        self.gates_of_hidden = nn.Conv2d(channels, 3 * channels, 3, padding=1)

    def forward(self, x: Tensor, memory: GRUMemory | None) -> GRUMemory:
        """One time step from a memory, zeros for None. The new hidden state is the output, in float32."""
        hidden = torch.zeros_like(x, dtype=torch.float32) if memory is None else memory.hidden
        own = self.gates_of_input(x).float().chunk(3, dim=1)
        before = self.gates_of_hidden(hidden.to(x.dtype)).float().chunk(3, dim=1)
        reset, update = (torch.sigmoid(a + b) for a, b in zip(own[:2], before[:2], strict=True))
        candidate = torch.tanh(own[2] + reset * before[2])
        return GRUMemory(torch.lerp(candidate, hidden, update))


class TemporalNetwork(nn.Module):
    """From the previous output and a filled frame to one that is consistent with it (figure 4)."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.encoder = TemporalEncoder(channels)
        self.memory = ConvGRU(channels[-1])
        self.decoder = TemporalDecoder(channels)
        if carries_colours(channels[0]):  # a new network is the identity, and learns what to change
            split_colours(self.encoder.at1, NOW_AT)
            carry(self.decoder.to_at1, [()] * N_CARRIED, [()] * N_CARRIED, ())
            join_colours(self.decoder.rgb, n_activations=1)

    def forward(
        self,
        before: tuple[Tensor, Tensor],
        now: tuple[Tensor, Tensor],
        memory: GRUMemory | None,
        *,
        block: Slices | None = None,
    ) -> tuple[Tensor, GRUMemory]:
        """One time step from the previous output and the filled frame, (B, 3, H, W) in [0, 1], each with its hole.

        Returns:
            (B, 3, H, W) in about [0, 1], not clamped, of the block (rows and columns of cells of 8x8 pixels) or the
            whole frame; and the new memory.
        """
        x = torch.cat((normalise(before[0]), before[1], normalise(now[0]), now[1]), dim=1)
        features = self.encoder(x.contiguous(memory_format=torch.channels_last))
        memory = self.memory(features.at8, memory)
        hidden = memory.hidden.to(features.at8.dtype)
        if block is not None:
            features = TemporalFeatures(*(_part(x, block, n) for x, n in zip(features, (8, 4, 2, 1), strict=True)))
            hidden = _part(hidden, block, 1)
        return denormalise(self.decoder(hidden, features)), memory


def _part(x: Tensor, block: Slices, n: int) -> Tensor:
    """A block of cells out of features that have `n` values a cell each way."""
    rows, columns = in_pixels(block, n)
    return x[..., rows, columns].contiguous(memory_format=torch.channels_last)


class OPNTCN(LearnedModel):
    """OPN followed by the temporal consistency network. 14,577,228 parameters at the default sizes.

    The paper runs the second network over a finished video; since it needs the previous output alone, here it takes
    each frame as soon as it is filled. OPN never sees its output.

    Differs from the paper (and from the code that its authors released), beside what `OPN` lists:
        * The previous output is fed back composited: outside the hole it is the source. The demo feeds back the whole
          decoded frame, which drifts.
        * At a segment's start the filled frame is its own previous output; the demo gives zeros with the hole of the
          clip's last frame.
        * Only what can reach the hole is decoded; the result is the same.
        * In training OPN keeps its weights: it is trained on its own before.
    """

    builds_on = "opn"

    sizes_type = OPNTCNSizes

    def __init__(self, sizes: OPNTCNSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or OPNTCNSizes()
        self.sizes = plain_sizes(sizes)
        self.opn = OPN(sizes.opn).requires_grad_(requires_grad=False)
        self.temporal = TemporalNetwork(sizes.temporal).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
        self.spec = replace(self.opn.spec, previous=True, multiple=8)

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, Any]) -> Self:
        """See `LearnedModel.from_sizes`."""
        return super().from_sizes({**sizes, "opn": OPNSizes(**sizes.get("opn", {}))})

    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Load the authors' temporal network; the weights of OPN are left as they are."""
        load_authors(self.temporal, TEMPORAL_LAYERS, tensors, source=source)

    def encode(self, frame: Tensor, hole: Tensor) -> EncodedFrame:
        """See `OPN.encode`."""
        return self.opn.encode(frame, hole)

    def train(self, mode: bool = True) -> Self:
        """Only the temporal network is trained."""
        super().train(mode)
        self.opn.eval()
        return self

    def step(self, window: Window, state: GRUMemory | None, pass_index: int) -> Step:
        """See `Model.step`. In training the fill is the whole decoded frame, not clamped, else composited."""
        target, previous = window.target, window.previous
        read = choose(target, window.references, n_max=self.opn.most_read)
        filled, _ = self.opn.complete(target, [view.features for view in read])
        before = (filled, target.hole) if previous is None else (previous.frame, previous.hole)
        now = (filled, target.hole)
        if self.training:
            return Step(*self.temporal(before, now, state))
        block = block_around(target.hole)
        rgb, memory = self.temporal(before, now, state, block=block)
        return Step(put(filled, target.hole, rgb.clamp(0, 1), in_pixels(block, CELL_PX)), memory)


def block_around(hole: Tensor) -> Slices:
    """The cells that must be decoded to fill holes (B, 1, H, W)."""
    size = (hole.shape[-2] // CELL_PX, hole.shape[-1] // CELL_PX)
    return grown(covering(hole, CELL_PX) or (0, 0, 0, 0), TEMPORAL_REACH, size)
