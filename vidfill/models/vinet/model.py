"""VINet: Deep Video Inpainting (Kim, Woo, Lee, Kweon; CVPR 2019, arXiv 1905.01639)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.align.warp import warp
from vidfill.models.base import Previous, Step, View, Window, WindowSpec
from vidfill.models.checkpoint import LearnedModel, check_keys, load_strict, plain_sizes
from vidfill.models.layers import ConvLSTM, GatedConv, LSTMMemory, resize
from vidfill.models.vinet.authors import authors_name, authors_shape, kernel_from_authors
from vidfill.models.vinet.flow import FlowSubnetwork, MaskSubnetwork, SourceAggregation, upsample_flow

NEIGHBOURS = (-6, -3, 3, 6)
N_SOURCES = len(NEIGHBOURS) + 1


@dataclass(frozen=True, slots=True)
class VINetSizes:
    """Sizes of a VINet. The defaults are the paper's widths and the variant that its authors released.

    Channels of the flow sub-networks (`estimator`) and their context networks are given for each scale, coarse to fine.
    """

    encoder: tuple[int, int, int, int] = (32, 64, 96, 128)  # channels at full, half, quarter and eighth scale
    head: int = 16  # channels before the last convolution of the decoder
    estimator: tuple[tuple[int, ...], ...] = ((128, 128, 96, 64, 32),) * 4
    context: tuple[tuple[int, ...], ...] = ((128, 128, 128, 96, 64, 32),) * 4
    search_range_px: int = 4  # of the correlation, in pixels of each scale
    normalise_correlation: bool = False  # see `FlowSubnetwork`; the authors' network has neither
    normalise_target: bool = False
    double_size: bool = True  # the 512 variant: the encoder's full scale is half the frame's; False: the 256 variant
    carry_memory: bool = True  # whether the ConvLSTM's memory goes from frame to frame
    previous_hole: float = 0.5  # value in the mask channel of the previous output inside its hole

    def __post_init__(self) -> None:
        if len(self.encoder) != 4 or len(self.estimator) != 4 or len(self.context) != 4:
            raise ValueError("encoder, estimator and context have one entry for each of four scales")
        if any(len(widths) != 6 for widths in self.context):
            raise ValueError("a context network has six convolutions")


class Pyramid(NamedTuple):
    """Features of a frame at a half, a quarter and an eighth of the encoder's full scale, each (B, C, h, w)."""

    at2: Tensor
    at4: Tensor
    at8: Tensor


class Motion(NamedTuple):
    """Record of a step, for the flow loss of training.

    From coarse to fine (eighth, quarter and half scale), each (5 * B, 2, h, w) in pixels of its scale: from the target
    to each neighbour, in their order, and to the previous output.
    """

    flows: tuple[Tensor, ...]


class FrameEncoder(nn.Module):
    """Encoder of eight gated convolutions. Input: masked frame in [-1, 1], blue first; ones; hole.

    `channels` at the full, half, quarter and eighth scale; `stride` of the first convolution, to the full scale.
    """

    def __init__(self, channels: tuple[int, int, int, int], *, stride: int) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.at1 = GatedConv(5, full, stride=stride)
        self.at2 = nn.Sequential(GatedConv(full, half, stride=2), GatedConv(half, half))
        self.at4 = nn.Sequential(GatedConv(half, quarter, stride=2), GatedConv(quarter, quarter))
        self.at8 = nn.Sequential(
            GatedConv(quarter, eighth, stride=2), GatedConv(eighth, eighth), GatedConv(eighth, eighth)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Pyramid]:
        """(B, 5, H, W) -> features at the full scale and at the other three."""
        full = self.at1(x)
        half = self.at2(full)
        quarter = self.at4(half)
        return full, Pyramid(half, quarter, self.at8(quarter))


class Upsample(nn.Module):
    """Bilinear upsampling, then a gated convolution (leaky ReLU of slope 0.2)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.gated = GatedConv(n_in, n_out, negative_slope=0.2)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, n_in, h, w) -> (B, n_out, *size)."""
        raised: Tensor = self.gated(resize(x, size))
        return raised


class FrameDecoder(nn.Module):
    """From the memory to a frame, with the composed features of target and sources as skips; see `VINetSizes`."""

    def __init__(self, channels: tuple[int, int, int, int], head: int) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.at8 = nn.Sequential(GatedConv(eighth, eighth), GatedConv(eighth, eighth))
        self.to_at4 = Upsample(eighth, quarter)
        self.at4 = nn.Sequential(
            GatedConv(2 * quarter, quarter), *(GatedConv(quarter, quarter, dilation=d) for d in (2, 4, 8))
        )
        self.to_at2 = Upsample(quarter, half)
        self.at2 = nn.Sequential(GatedConv(2 * half, half), GatedConv(half, half))
        self.to_at1 = Upsample(half, full)
        self.head = GatedConv(full, head)
        self.rgb = nn.Conv2d(head, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor, skips: Pyramid, *, full: tuple[int, int], frame: tuple[int, int]) -> Tensor:
        """Decode the memory's hidden state at the eighth scale; `full` and `frame` are (height, width).

        Returns:
            (B, 3, *frame), blue first, about [-1, 1], not clamped.
        """
        x = self.to_at4(self.at8(x), _size(skips.at4))
        x = self.at4(torch.cat((x, skips.at4), dim=1))
        x = self.to_at2(x, _size(skips.at2))
        x = self.at2(torch.cat((x, skips.at2), dim=1))
        x = self.to_at1(x, full)
        if frame != full:
            x = resize(x, frame)
        bgr: Tensor = self.rgb(self.head(x))
        return bgr


class VINet(LearnedModel):
    """Recurrent aggregation of flow-aligned neighbour features, composed with the warped previous output.

    Figure 2 of the paper: an encoder for the target and one for its sources (two neighbours on each side and the
    previous output), flow sub-networks from coarse to fine, aggregation and mask sub-networks at three scales, a
    dilated bottleneck, a ConvLSTM, a decoder, and the composition with the previous output (section 3.3).
    14,115,364 parameters at the default widths, in the 256 as in the 512 variant.

    Differs from the paper (and from the code that its authors released):
        * The memory goes from frame to frame, as in the paper; the released demo resets it before each frame, as does
          `carry_memory=False`.
        * Any frame size: features are upsampled to the size of the skip. The demo resizes frames to a square.
        * Neighbours are mirrored at both ends of a segment; the demo prepends thirty frames to warm up. The first frame
          is its own previous output, as in the demo.
        * The previous output is fed back composited: outside the hole it is the source. The demo feeds back the whole
          decoded frame, which drifts.
        * Warping uses align_corners=True, with which the weights were trained; with a current PyTorch the released code
          is half a pixel off.
        * `normalise_correlation` and `normalise_target`, for training from scratch; both off by default.
        * The 512 variant composes with the flow of the half scale and discards the full scale's, which is not computed
          here. Its weights stay, so that one checkpoint serves both variants.
        * The fill is clamped to [0, 1] except in training.
        * Initialisation: flow starts at zero; the released code draws its biases from (0, 1).
    """

    sizes_type = VINetSizes

    def __init__(self, sizes: VINetSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or VINetSizes()
        self.sizes = plain_sizes(sizes)
        self.double_size, self.carry_memory = sizes.double_size, sizes.carry_memory
        self.previous_hole = sizes.previous_hole
        self.spec = WindowSpec(neighbours=NEIGHBOURS, previous=True, multiple=16 if sizes.double_size else 8)
        full, half, quarter, eighth = sizes.encoder
        stride = 2 if sizes.double_size else 1
        self.target_encoder = FrameEncoder(sizes.encoder, stride=stride)
        self.source_encoder = FrameEncoder(sizes.encoder, stride=stride)
        # Features of different encoders do not correlate: a new network starts with the same one twice.
        self.source_encoder.load_state_dict(self.target_encoder.state_dict())
        scales = {"at8": eighth, "at4": quarter, "at2": half, "at1": full}
        self.flow = nn.ModuleDict(
            {
                scale: FlowSubnetwork(
                    channels,
                    estimator=estimator,
                    context=context,
                    search_range_px=sizes.search_range_px,
                    has_coarser=scale != "at8",
                    normalise=sizes.normalise_correlation,
                    normalise_target=sizes.normalise_target,
                )
                for (scale, channels), estimator, context in zip(
                    scales.items(), sizes.estimator, sizes.context, strict=True
                )
            }
        )
        self.aggregation = nn.ModuleDict(
            {scale: SourceAggregation(scales[scale], N_SOURCES) for scale in ("at8", "at4", "at2")}
        )
        self.mask = nn.ModuleDict({scale: MaskSubnetwork(channels) for scale, channels in scales.items()})
        self.bottleneck = nn.Sequential(
            GatedConv(2 * eighth, eighth), *(GatedConv(eighth, eighth, dilation=d) for d in (2, 4, 8))
        )
        self.memory = ConvLSTM(eighth)
        self.decoder = FrameDecoder(sizes.encoder, sizes.head)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs

    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """See `LearnedModel.load_authors`."""
        names = {authors_name(own): own for own in self.state_dict()}
        check_keys(self.authors_shapes(), {name: tuple(t.shape) for name, t in tensors.items()}, source=source)
        own = {names[name]: kernel_from_authors(tensor) for name, tensor in tensors.items()}
        load_strict(self, own, source=source)

    def authors_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the authors' state dict for a network of these sizes."""
        shapes = ((own, tuple(tensor.shape)) for own, tensor in self.state_dict().items())
        return {authors_name(own): authors_shape(own, shape, n_sources=N_SOURCES) for own, shape in shapes}

    def encode(self, frame: Tensor, hole: Tensor) -> Pyramid:
        """Features of a source frame; the target is encoded by another encoder in `step`."""
        pyramid: Pyramid
        _, pyramid = self.source_encoder(_encoder_input(frame, hole))
        return pyramid

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """See `Model.step`. The fill is clamped to [0, 1] except in training."""
        neighbours = [view.features for view in window.neighbours]
        bgr, memory, flows = self.inpaint(window.target, neighbours, window.previous, state)
        rgb = (bgr.float().flip(1) + 1) / 2
        return Step(rgb if self.training else rgb.clamp(0, 1), memory if self.carry_memory else None, Motion(flows))

    def inpaint(
        self, target: View, neighbours: Sequence[Pyramid], previous: Previous | None, memory: LSTMMemory | None
    ) -> tuple[Tensor, LSTMMemory, tuple[Tensor, ...]]:
        """The network itself; at the start the target takes the place of the previous output.

        Returns:
            (B, 3, H, W), blue first, about [-1, 1], not clamped; the new memory; and the flows of `Motion`.
        """
        full, own = self.target_encoder(_encoder_input(target.frame, target.hole))
        if previous is None:
            previous_full, previous_pyramid = None, target.features
        else:
            previous_full, previous_pyramid = self.source_encoder(
                _encoder_input(previous.frame, self.previous_hole * previous.hole, masked=False)
            )
        sources = Pyramid(*(torch.cat(scale) for scale in zip(*neighbours, previous_pyramid, strict=True)))
        composed, flows = self._compose_features(own, sources)
        memory = self.memory(self.bottleneck(torch.cat((own.at8, composed.at8), dim=1)), memory)
        x = memory.hidden.to(own.at8.dtype)
        bgr = self.decoder(x, composed, full=_size(full), frame=_size(target.frame))
        if previous is not None and previous_full is not None:
            bgr = self._compose_previous(bgr, full, previous_full, previous.frame, flows[-1][-len(full) :])
        return bgr, memory, flows

    def _compose_features(self, target: Pyramid, sources: Pyramid) -> tuple[Pyramid, tuple[Tensor, ...]]:
        """From coarse to fine: align the sources, aggregate them, compose them with the target."""
        composed: dict[str, Tensor] = {}
        flows: list[Tensor] = []
        for scale in ("at8", "at4", "at2"):
            own, raw = getattr(target, scale), getattr(sources, scale)
            if not flows:
                flow = self.flow[scale](own, raw, None)
            else:
                coarser = upsample_flow(flow, _size(own), factor=2)
                flow = self.flow[scale](own, warp(raw, coarser), coarser)
            flows.append(flow)
            aggregated = self.aggregation[scale](warp(raw, flow))
            composed[scale] = torch.lerp(own, aggregated, self.mask[scale](own, aggregated))
        return Pyramid(**composed), tuple(flows)

    def _compose_previous(
        self, bgr: Tensor, full: Tensor, previous_full: Tensor, previous: Tensor, flow: Tensor
    ) -> Tensor:
        """Compose the decoder's frame with the warped previous output, RGB in [0, 1]; `flow` is at the half scale."""
        full_flow = upsample_flow(flow, _size(full), factor=2)
        aligned = warp(previous_full, full_flow, border="border")
        trust = self.mask["at1"](full, aligned)
        if self.double_size:
            frame_flow = upsample_flow(flow, _size(bgr), factor=4)
            trust = F.interpolate(trust, size=_size(bgr), mode="nearest")
        else:
            frame_flow = self.flow["at1"](full, aligned, full_flow)
        warped = warp(previous.flip(1) * 2 - 1, frame_flow, border="border")
        return torch.lerp(bgr.float(), warped, trust.float())


def _encoder_input(frame: Tensor, hole: Tensor, *, masked: bool = True) -> Tensor:
    """(B, 5, H, W): the frame in [-1, 1], blue first and zero in the hole if `masked`; ones; the hole."""
    bgr = frame.flip(1) * 2 - 1
    if masked:
        bgr = bgr * (1 - hole)
    return torch.cat((bgr, torch.ones_like(hole), hole), dim=1).contiguous(memory_format=torch.channels_last)


def _size(x: Tensor) -> tuple[int, int]:
    """(height, width)."""
    return x.shape[-2], x.shape[-1]
