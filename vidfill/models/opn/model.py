"""OPN: Onion-Peel Networks for Deep Video Completion (Oh, Lee, Lee, Kim; ICCV 2019, arXiv 1908.08718)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidfill.models.base import ReferenceSpec, Step, View, Window, WindowSpec
from vidfill.models.checkpoint import LearnedModel, plain_sizes
from vidfill.models.opn.attention import Bank, EncodedFrame, PeelQueries, add_to_peel, gather, queries_of
from vidfill.models.opn.authors import PEELING_LAYERS, load_authors
from vidfill.models.opn.network import (
    DECODER_REACH,
    ENCODER_REACH,
    PeelDecoder,
    PeelEncoder,
    denormalise,
    normalise,
)
from vidfill.models.opn.peels import CELL_PX, Peel, Slices, grown, in_pixels, peel, shrink, within
from vidfill.models.opn.references import choose, spectrum


@dataclass(frozen=True, slots=True)
class OPNSizes:
    """Sizes of an OPN. The defaults are the paper's, except for the three limits that bound memory and time."""

    half: int = 64  # channels at half the frame's scale
    channels: int = 128  # at a quarter of it, and of keys and values
    peel_px: int = 8  # thickness of a peel
    reference_stride: int = 5  # in frames
    most_references: int = 40  # of a segment; a longer segment gets a larger stride
    most_read: int = 12  # references from which one frame reads, chosen by what they uncover
    most_peels: int = 16  # the last of so many takes what is left of a hole

    def __post_init__(self) -> None:
        if any(type(value) is not int or value < 1 for value in asdict(self).values()):
            raise ValueError("every size is a whole number, 1 or more")


class Peeling(NamedTuple):
    """Record of a step, for the losses of training; tuples have one entry for each peel."""

    fills: tuple[Tensor, ...]  # decoded, (B, 3, H, W); in training the whole frame and not clamped
    masks: tuple[Tensor, ...]  # (B, 1, H, W), 1 inside
    questions: tuple[PeelQueries, ...] = ()  # in training only
    bank: Bank | None = None  # in training only; None where there are no references
    read: tuple[int, ...] = ()  # positions of the bank's references


class OPN(LearnedModel):
    """Fills a hole peel by peel, from its boundary inwards, with what attention finds in references anywhere in time.

    Figure 2 of the paper: an encoder to keys and values, asymmetric attention from the pixels of a peel to the known
    pixels of the references, a decoder, and the filled peel composited before the next one begins. 3,420,422 parameters
    at the default sizes.

    Differs from the paper (and from the code that its authors released):
        * A bounded bank: the paper's references are every fifth frame of a clip. Here they are every fifth frame of a
          segment up to `most_references`, in longer ones every sixth, seventh and so on; of these a frame reads the
          `most_read` that uncover most of its hole and are spread most evenly over time. Within these limits the
          result is the paper's.
        * At most `most_peels` peels: a hole deeper than 128 px is finished with the last of them. A hole that fills
          the whole frame is one peel.
        * For each peel only what can reach the missing pixels is encoded and decoded again, and the first peel uses
          the features of the frame as a reference; the result is the same.
        * Frames are padded at the right and below only, by repeating the border; the released code pads with zeros
          on all sides.
    """

    sizes_type = OPNSizes

    def __init__(self, sizes: OPNSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or OPNSizes()
        self.sizes = plain_sizes(sizes)
        self.peel_px, self.most_peels, self.most_read = sizes.peel_px, sizes.most_peels, sizes.most_read
        references = ReferenceSpec(stride=sizes.reference_stride, most=sizes.most_references)
        self.spec = WindowSpec(references=references, multiple=CELL_PX)
        self.encoder = PeelEncoder(sizes.half, sizes.channels)
        self.decoder = PeelDecoder(sizes.half, sizes.channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs

    def load_authors(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """See `LearnedModel.load_authors`."""
        load_authors(self, PEELING_LAYERS, tensors, source=source)

    def encode(self, frame: Tensor, hole: Tensor) -> EncodedFrame:
        """Keys and values of a frame, as a reference and for its own first peel."""
        key, value = self.encoder(_encoder_input(frame, hole, hole))
        return EncodedFrame(key, value, shrink(hole) <= 0, spectrum(frame, hole))

    def step(self, window: Window, state: Any, pass_index: int) -> Step:
        """Fill one frame; see `Model.step`. The fill holds the source outside the hole."""
        read = choose(window.target, window.references, n_max=self.most_read)
        filled, peeling = self.complete(window.target, [view.features for view in read])
        return Step(filled, record=peeling._replace(read=tuple(view.index for view in read)))

    def complete(self, target: View, references: Sequence[EncodedFrame]) -> tuple[Tensor, Peeling]:
        """Fill the hole of a frame peel by peel, from references of which there may be none.

        Returns:
            (B, 3, H, W) in [0, 1], composited; and the record, whose fills cover the frame in training only.
        """
        peels = peel(target.hole, thickness_px=self.peel_px, n_max=self.most_peels)
        bank = gather(references) if references and peels else None
        frame, missing = target.frame, target.hole
        fills, questions = [], []
        for number, ring in enumerate(peels):
            cells = self._region(ring, target.features.known)
            key, value = self._features(target, frame, missing, cells, is_first=number == 0)
            if bank is not None and ring.cells.shape[1]:
                asked = queries_of(key, within(ring.cells, target.features.known.shape[-1], cells), ring.counts)
                value = add_to_peel(value, asked, bank)
                questions.append(asked)
            fill = denormalise(self.decoder(value.contiguous(memory_format=torch.channels_last)))
            fills.append(fill)
            frame = put(frame, ring.mask, fill.clamp(0, 1), in_pixels(cells))
            missing = missing - ring.mask * missing
        peeling = Peeling(tuple(fills), tuple(ring.mask for ring in peels))
        return frame, peeling._replace(questions=tuple(questions), bank=bank) if self.training else peeling

    def _region(self, ring: Peel, cells: Tensor) -> Slices:
        """The cells whose values can reach a missing pixel; all in training, where losses cover the frame."""
        size = (cells.shape[-2], cells.shape[-1])
        return grown(ring.around, max(size) if self.training else DECODER_REACH, size)

    def _features(
        self, target: View, frame: Tensor, missing: Tensor, cells: Slices, *, is_first: bool
    ) -> tuple[Tensor, Tensor]:
        """Key and value of a block of cells, with the peels filled so far."""
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
    """(B, 5, H, W): normalised frame, 0 where missing; originally known pixels; missing pixels."""
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
