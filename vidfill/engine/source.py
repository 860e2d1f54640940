"""The engine's ViewSource: pictures are decoded one by one and dropped as soon as no window needs them."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.engine.device import Runtime
from vidfill.errors import InputError
from vidfill.models.base import CachedSource, Model, Original, View
from vidfill.video.frame import Bool, Box, Samples

# Frames whose tensors are kept, since windows overlap: a bank of references (`plan.MAX_REFERENCES`) with the window's
# own frames, so that each is moved to the device once; fewer large frames, but never fewer than a short window.
_MAX_TENSORS = 48
_TENSOR_BYTES = 96 * 2**20
_MIN_TENSORS = 16


class Edge(NamedTuple):
    """The alpha of one frame until it is filled, cropped and compressed (it is nearly all 0 and 255)."""

    box: Box
    packed: bytes

    @classmethod
    def around(cls, alpha: NDArray[np.uint8]) -> Self | None:
        """Pack the (H, W) alpha of a frame; None where it is 0 everywhere."""
        box = Box.around(alpha > 0)
        return None if box is None else cls(box, zlib.compress(np.ascontiguousarray(alpha[box.slices]).data, 1))

    def alpha(self) -> NDArray[np.uint8]:
        """(box.height, box.width)."""
        values = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return values.reshape(self.box.height, self.box.width)


class WorkingFrame(NamedTuple):
    """One frame at the working size."""

    rgb: Samples  # (h, w, 3), uint16 where the source has more than 8 bits; full range
    hole: Bool  # (h, w), true = missing
    pts: int = 0
    edge: Edge | None = None  # what its patch covers

    @property
    def levels(self) -> int:
        """The value of white."""
        return int(np.iinfo(self.rgb.dtype).max)


class LazySource(CachedSource):
    """The frames of one segment, read in order when a window first needs them, each encoded once by the model.

    `original` makes `View.original`; None where pictures are not downscaled.
    """

    def __init__(
        self,
        model: Model,
        pictures: Iterator[WorkingFrame],
        n_frames: int,
        runtime: Runtime,
        original: Callable[[int, WorkingFrame], Original] | None = None,
    ) -> None:
        super().__init__(model)
        self.n_frames = n_frames
        self._incoming, self._runtime, self._original = pictures, runtime, original
        self._n_pulled = 0
        self._pictures: dict[int, WorkingFrame] = {}
        self._tensors: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        self._tables += [self._pictures, self._tensors]

    @property
    def n_live(self) -> int:
        """Frames held at this moment."""
        return len(self._pictures)

    def view(self, index: int) -> View:
        """The encoded frame at a position of the segment.

        Raises:
            InputError: the pictures end before the segment does.
        """
        picture = self.picture(index)
        if index not in self._tensors:
            self._tensors[index] = self._tensors_of(picture)
        self._tensors.move_to_end(index)
        frame, hole = self._tensors[index]
        affordable = _TENSOR_BYTES // (frame.nbytes + hole.nbytes)
        if len(self._tensors) > max(_MIN_TENSORS, min(_MAX_TENSORS, affordable)):
            self._tensors.popitem(last=False)
        return self._view(index, frame, hole, None if self._original is None else self._original(index, picture))

    def picture(self, index: int) -> WorkingFrame:
        """The frame at a position of the segment."""
        while self._n_pulled <= index:
            picture = next(self._incoming, None)
            if picture is None:
                raise InputError(
                    f"the source gave {self._n_pulled} frames of a segment of {self.n_frames}",
                    todo="run again if the file has changed since it was analysed",
                )
            self._pictures[self._n_pulled] = picture
            self._n_pulled += 1
        return self._pictures[index]

    def _tensors_of(self, picture: WorkingFrame) -> tuple[Tensor, Tensor]:
        """The frame and the hole of `View`, padded to the model's multiple by repeating the last row and column."""
        spec = self._model.spec
        height, width = picture.hole.shape
        around = ((0, -height % spec.multiple), (0, -width % spec.multiple))
        missing = np.pad(picture.hole, around, mode="edge")
        rgb: NDArray[Any] = np.pad(picture.rgb, (*around, (0, 0)), mode="edge")
        if spec.takes_uint8:
            if picture.levels != 255:
                rgb = np.rint(rgb / np.float32(picture.levels) * 255).astype(np.uint8)
            rgb[missing] = 0
            return torch.from_numpy(rgb).permute(2, 0, 1)[None], torch.from_numpy(missing)[None, None]
        # uint8 is moved to the device as it is; not every device has uint16.
        samples = torch.from_numpy(rgb if picture.levels == 255 else rgb.astype(np.float32)).to(self._runtime.device)
        hole = torch.from_numpy(missing).to(self._runtime.device).float()[None, None]
        frame = samples.permute(2, 0, 1)[None].float().div_(picture.levels).mul_(1 - hole)
        return self._runtime.tensor(frame), self._runtime.tensor(hole)
