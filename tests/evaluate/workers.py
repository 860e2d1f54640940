"""Stand-ins: a `FillerProcess` that fills in this process, with a colour for each label; a feature network."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from vidfill.evaluate.contenders import Contender
from vidfill.evaluate.protocol import Frames
from vidfill.evaluate.worker import Usage
from vidfill.settings import EngineSettings
from vidfill.video.frame import Bool

GREYS = {"black": 0, "grey": 128, "white": 255}


def colours(pictures: Tensor) -> list[Tensor]:
    """Feature maps at strides 2 to 32: mean colours, and how dark it is, so that black has a direction as well."""
    channels = torch.cat((pictures, 1 - pictures.mean(1, keepdim=True)), dim=1)
    return [F.avg_pool2d(channels, stride, ceil_mode=True) for stride in (2, 4, 8, 16, 32)]


class GreyWorker:
    """Paints everything in the grey of its label; "ctrl-c" is interrupted."""

    n_fills = 0

    def __init__(self, contender: Contender, machine: EngineSettings) -> None:
        self.contender = contender

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def fill(
        self, frames: Frames, holes: Sequence[Bool], *, on_frame: Callable[[], None] | None = None
    ) -> tuple[list[NDArray[np.uint8]], Usage]:
        if self.contender.label == "ctrl-c":
            raise KeyboardInterrupt
        type(self).n_fills += 1
        for _ in frames:
            if on_frame is not None:
                on_frame()
        value = GREYS[self.contender.label]
        return [np.full_like(frame, value) for frame in frames], Usage(len(frames) * 0.5, 100.0 * self.n_fills, None)
