"""The engine's ViewSource: pictures arrive one by one and are forgotten as soon as no window needs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.engine.device import Runtime
from vidfill.errors import InputError
from vidfill.models.base import Model, Original, View
from vidfill.video.frame import Bool, Samples

# Tensors kept of the frames that were looked at last, since windows overlap from step to step: a bank of references
# (`plan.MAX_REFERENCES`) with the window's own frames, so that each crosses to the device once; fewer of large
# frames, but never fewer than a short window.
_MAX_TENSORS = 48
_TENSOR_BYTES = 96 * 2**20
_MIN_TENSORS = 16


class Picture(NamedTuple):
    """One frame at the working size, as it is kept while a window may need it.

    Attributes:
        rgb: (h, w, 3) uint8, or uint16 where the source has more than 8 bits; full range.
        hole: (h, w) bool, true = missing.
    """

    rgb: Samples
    hole: Bool


class LazySource:
    """The frames of one segment, pulled from an iterator when a window first asks for them.

    A picture is kept in its few bytes and made into tensors on demand; what a model encoded of it is kept beside it.

    Args:
        model: encodes each frame once.
        pictures: gives the frames of the segment in order; read no further than the windows need.
        n_frames: how many there are.
        runtime: where tensors are put.
        original: the frame of a position at the source's own size; None where pictures are not made smaller.
    """

    def __init__(
        self,
        model: Model,
        pictures: Iterator[Picture],
        n_frames: int,
        runtime: Runtime,
        original: Callable[[int], Original] | None = None,
    ) -> None:
        self.n_frames = n_frames
        self._model, self._incoming, self._runtime = model, pictures, runtime
        self._original = original
        self._n_pulled = 0
        self._pictures: dict[int, Picture] = {}
        self._features: dict[int, Any] = {}
        self._records: dict[int, Any] = {}
        self._tensors: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()

    @property
    def n_live(self) -> int:
        """Frames held at this moment."""
        return len(self._pictures)

    def view(self, index: int) -> View:
        """The encoded frame at a position of the segment.

        Raises:
            InputError: the pictures end before the segment does.
        """
        if index not in self._tensors:
            self._tensors[index] = self._tensors_of(self.picture(index))
        self._tensors.move_to_end(index)
        frame, hole = self._tensors[index]
        affordable = _TENSOR_BYTES // (frame.nbytes + hole.nbytes)
        if len(self._tensors) > max(_MIN_TENSORS, min(_MAX_TENSORS, affordable)):
            self._tensors.popitem(last=False)
        if index not in self._features:
            self._features[index] = self._model.encode(frame, hole)
        original = None if self._original is None else self._original(index)
        return View(index, frame, hole, self._features[index], self._records.get(index), original)

    def picture(self, index: int) -> Picture:
        """The frame at a position of the segment, as it is kept."""
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

    def keep_record(self, index: int, record: Any) -> None:
        """Hold a record for the next pass; it comes back as `View.record`."""
        self._records[index] = record

    def drop_before(self, index: int, keep: range = range(0)) -> None:
        """Positions below `index` will not be asked for again, those in `keep` apart."""
        tables: tuple[dict[int, Any], ...] = (self._pictures, self._features, self._records, self._tensors)
        for table in tables:
            for old in [i for i in table if i < index and i not in keep]:
                del table[old]

    def _tensors_of(self, picture: Picture) -> tuple[Tensor, Tensor]:
        """(1, 3, H, W) in [0, 1] with a zeroed hole, and (1, 1, H, W); padded to the model's multiple."""
        full = 255.0 if picture.rgb.dtype == np.uint8 else 65535.0
        # uint8 crosses to the device as it is; not every device knows uint16.
        rgb = np.array(picture.rgb, np.uint8 if full == 255.0 else np.float32)
        samples = torch.from_numpy(rgb).to(self._runtime.device)
        hole = torch.from_numpy(np.array(picture.hole)).to(self._runtime.device).float()[None, None]
        frame = samples.permute(2, 0, 1)[None].float().div_(full).mul_(1 - hole)
        multiple = self._model.spec.multiple
        return self._runtime.tensor(pad(frame, multiple)), self._runtime.tensor(pad(hole, multiple))


def pad(value: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until height and width are a multiple."""
    height, width = value.shape[-2:]
    right, below = -width % multiple, -height % multiple
    return F.pad(value, (0, right, 0, below), mode="replicate") if right or below else value
