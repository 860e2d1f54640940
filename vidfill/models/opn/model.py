"""OPN: Onion-Peel Networks for Deep Video Completion (Oh, Lee, Lee, Kim; ICCV 2019, arXiv 1908.08718)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidfill.models.base import ReferenceSpec, Step, View, Window, WindowSpec
from vidfill.models.checkpoint import LearnedModel, plain_sizes
from vidfill.models.opn.attention import Bank, Encoded, Questions, add_to_peel, ask, gather
from vidfill.models.opn.authors import PEELING_LAYERS, load_authors
from vidfill.models.opn.network import (
    DECODER_REACH,
    ENCODER_REACH,
    Decoder,
    Encoder,
    denormalise,
    normalise,
)
from vidfill.models.opn.peels import CELL_PX, Peel, Slices, grown, in_pixels, peel, shrink, within
from vidfill.models.opn.references import choose, spectrum


@dataclass(frozen=True, slots=True)
class OPNSizes:
    """What builds an OPN. The defaults are the paper's, but for the three limits that bound memory and time."""

    half: int = 64  # channels at half the frame's scale
    channels: int = 128  # at a quarter of it, and of keys and values
    peel_px: int = 8  # thickness of a peel
    reference_stride: int = 5  # every so many frames of a segment is a reference
    most_references: int = 40  # kept of a segment; where it has more, the stride is raised
    most_read: int = 12  # references that one frame reads from, chosen by what they uncover
    most_peels: int = 16  # the last of so many takes what is left of a hole

    def __post_init__(self) -> None:
        if any(type(value) is not int or value < 1 for value in asdict(self).values()):
            raise ValueError("every size is a whole number, 1 or more")


class Peeling(NamedTuple):
    """What a step leaves as its record, for training's losses."""

    # Of each peel the whole decoded frame, (B, 3, H, W), not clamped in training; what is decoded of it.
    fills: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]  # of each peel, (B, 1, H, W), 1 inside
    questions: tuple[Questions, ...] = ()  # of each peel what its cells looked for; in training only
    bank: Bank | None = None  # where they looked, None where there was nothing to look in; in training only
    read: tuple[int, ...] = ()  # the positions of the bank's references


class OPN(LearnedModel):
    """Fills a hole peel by peel, from its boundary inwards, with what attention finds in references anywhere in time.

    Figure 2 of the paper: an encoder to keys and values, asymmetric attention from the pixels of a peel to the known
    pixels of the references, a decoder, and the filled peel composited before the next one begins. 3,420,422 parameters
    at the default sizes.

    Differs from the paper (and from the code that its authors released):
        * A bounded bank: the paper's references are every fifth frame of a clip, however long. Here they are every
          fifth frame of a segment up to `most_references`, beyond that every sixth, seventh and so on; of these a frame
          reads the `most_read` that together uncover most of its hole and are spread most evenly over time, near ones
          more densely. So neither memory nor time grows with the length of the video. Up to these limits the result is
          the paper's.
        * At most `most_peels` peels: a hole deeper than 128 px is finished with the last of them. A hole that fills
          the whole frame is one peel (it has no boundary).
        * Only what can reach the missing pixels is encoded and decoded again for each peel; the result is the same.
        * The first peel uses the features that were encoded when the frame was first looked at, as a reference of
          others, so that each frame is encoded once; the result is the same.
        * Frames are padded at the right and below only, by repeating the border; the released code pads with zeros
          on all sides.
        * Where no reference knows anything the attention is left out, as in the released code.

    Args:
        sizes: what to build; the paper's by default.
    """

    sizes_type = OPNSizes

    def __init__(self, sizes: OPNSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or OPNSizes()
        self.sizes = plain_sizes(sizes)
        self.peel_px, self.most_peels, self.most_read = sizes.peel_px, sizes.most_peels, sizes.most_read
        references = ReferenceSpec(stride=sizes.reference_stride, most=sizes.most_references)
        self.spec = WindowSpec(references=references, multiple=CELL_PX)
        self.encoder = Encoder(sizes.half, sizes.channels)
        self.decoder = Decoder(sizes.half, sizes.channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs

    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """See `LearnedModel.load_authors`."""
        load_authors(self, PEELING_LAYERS, tensors, source=source)

    def encode(self, frame: Tensor, hole: Tensor) -> Encoded:
        """Keys and values of a frame: as a reference, and for the first peel as the frame to fill."""
        key, value = self.encoder(_encoder_input(frame, hole, hole))
        return Encoded(key, value, shrink(hole) <= 0, spectrum(frame, hole))

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """Fill one frame; see `Model.step`. The fill holds the source outside the hole."""
        read = choose(window.target, window.references, n_most=self.most_read)
        filled, peeling = self.complete(window.target, [view.features for view in read])
        return Step(filled, record=peeling._replace(read=tuple(view.index for view in read)))

    def complete(self, target: View, references: Sequence[Encoded]) -> tuple[Tensor, Peeling]:
        """Fill the hole of a frame peel by peel.

        Args:
            target: the frame to fill, with its own features.
            references: what is known of other frames; may be empty.

        Returns:
            (B, 3, H, W) in [0, 1], composited; and what training wants to see. Only in training are whole frames
            decoded: else `Peeling.fills` holds what lies round the peel.
        """
        peels = peel(target.hole, thickness_px=self.peel_px, n_most=self.most_peels)
        bank = gather(references) if references and peels else None
        frame, missing = target.frame, target.hole
        fills, questions = [], []
        for number, ring in enumerate(peels):
            cells = self._region(ring, target.features.known)
            key, value = self._features(target, frame, missing, cells, is_first=number == 0)
            if bank is not None and ring.cells.shape[1]:
                asked = ask(key, within(ring.cells, target.features.known.shape[-1], cells), ring.counts)
                value = add_to_peel(value, asked, bank)
                questions.append(asked)
            fill = denormalise(self.decoder(value.contiguous(memory_format=torch.channels_last)))
            fills.append(fill)
            frame = put(frame, ring.mask, fill.clamp(0, 1), in_pixels(cells))
            missing = missing - ring.mask * missing
        peeling = Peeling(tuple(fills), tuple(ring.mask for ring in peels))
        return frame, peeling._replace(questions=tuple(questions), bank=bank) if self.training else peeling

    def _region(self, ring: Peel, cells: Tensor) -> Slices:
        """The cells whose values can reach a pixel that is still missing; all in training, whose losses look at all."""
        size = (cells.shape[-2], cells.shape[-1])
        return grown(ring.around, max(size) if self.training else DECODER_REACH, size)

    def _features(
        self, target: View, frame: Tensor, missing: Tensor, cells: Slices, *, is_first: bool
    ) -> tuple[Tensor, Tensor]:
        """Key and value of a block of cells, with what the peels before this one have filled."""
        rows, columns = cells
        if is_first:
            return target.features.key[..., rows, columns], target.features.value[..., rows, columns]
        known = target.features.known
        around = (rows.start, rows.stop, columns.start, columns.stop)
        outer = grown(around, ENCODER_REACH, (known.shape[-2], known.shape[-1]))
        y, x = in_pixels(outer)
        encoded = self.encoder(_encoder_input(frame[..., y, x], target.hole[..., y, x], missing[..., y, x]))
        inner = (
            slice(rows.start - outer[0].start, rows.stop - outer[0].start),
            slice(columns.start - outer[1].start, columns.stop - outer[1].start),
        )
        return encoded[0][..., inner[0], inner[1]], encoded[1][..., inner[0], inner[1]]


def _encoder_input(frame: Tensor, hole: Tensor, missing: Tensor) -> Tensor:
    """(B, 5, H, W): the frame, the mean colour where it is missing; what was known from the start; what is missing."""
    x = torch.cat((normalise(frame) * (1 - missing), 1 - hole, missing), dim=1)
    return x.contiguous(memory_format=torch.channels_last)


def put(frame: Tensor, mask: Tensor, fill: Tensor, pixels: Slices) -> Tensor:
    """A copy of the frame with the fill of a block of pixels where the mask is 1."""
    y, x = pixels
    block = torch.lerp(frame[..., y, x], fill.to(frame.dtype), mask[..., y, x])
    if block.shape == frame.shape:
        return block
    frame = frame.clone()
    frame[..., y, x] = block
    return frame
