"""The painter's samples: single pictures with holes. Everything lies on the training device and is cropped there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.errors import InputError
from vidfill.models.base import Model, WindowSpec
from vidfill.models.cleanplate.painter import Painter
from vidfill.train import ModelTraining
from vidfill.train.batch import Batch, Samples
from vidfill.train.data import TrainingData
from vidfill.train.painter.holes import HoleShapes
from vidfill.train.parallel import Ranks
from vidfill.train.recipe import Recipe, Stage

_CLIP_STRIDE = 20  # of a clip, one frame in so many is used
# Pictures are kept up to so many times their median short side; the ends of longer ones are cut off.
_MAX_ASPECT = 1.5
# Pixels of the picture for each pixel of a crop: enlarging blurs, reducing is limited by the picture.
MIN_ZOOM, MAX_ZOOM = 0.94, 1.4
# Standard deviations of the brightness of all channels and of each (logarithms), and of an offset.
_GAIN_STD, _TINT_STD, _OFFSET_STD = 0.08, 0.03, 0.02
# Validation draws its holes from this seed, so that no training step shares them; and paints so many pictures at once.
_VALIDATION_SEED = 2**31
_VALIDATION_BATCH = 8


class PictureSamples(Samples):
    """Photos and single frames of clips, as clips of one frame.

    Raises:
        InputError: no pictures.
    """

    def __init__(self, data: TrainingData, recipe: Recipe, spec: WindowSpec) -> None:
        pictures = [*data.photos, *(frame for clip in data.clips for frame in clip[_CLIP_STRIDE // 2 :: _CLIP_STRIDE])]
        if not pictures:
            raise InputError("no pictures to train on", todo="name archives of photos, or longer clips")
        self._spec = spec
        self._bank = PictureBank(pictures)
        self._holes = HoleShapes(data.silhouettes, seed=recipe.seed)
        held_back = [*data.held_back_photos, *(clip[len(clip) // 2] for clip in data.held_back)][: recipe.n_validation]
        self._held_back: list[tuple[Tensor, Tensor]] = []
        if held_back:
            torch.manual_seed(hash((recipe.seed, _VALIDATION_SEED)))
            size = recipe.stages[-1].size
            truth, holes = PictureBank(held_back).middles(size), self._holes.draw(len(held_back), size)
            parts = (torch.split(values.unsqueeze(1), _VALIDATION_BATCH) for values in (truth, holes))
            self._held_back = list(zip(*parts, strict=True))

    def draw(self, stage: Stage, *, step: int, ranks: Ranks) -> Batch:
        """See `Samples.draw`; drawn by torch's own generator of the device."""
        pictures, holes = self._bank.draw(stage.batch, stage.size), self._holes.draw(stage.batch, stage.size)
        first, n = ranks.part_of(stage.batch)
        own = slice(first, first + n)
        return Batch(pictures[own].unsqueeze(1), holes[own].unsqueeze(1), range(1), self._spec)

    def held_back(self) -> list[tuple[Tensor, Tensor]]:
        """See `Samples.held_back`: the middles of the first pictures, several at a time."""
        return self._held_back


class PictureBank:
    """Crops of pictures of any sizes, (H, W, 3) uint8 RGB each, on the training device."""

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        self._device = pictures[0].device
        shorts = sorted(min(picture.shape[:2]) for picture in pictures)
        self._side = int(_MAX_ASPECT * shorts[len(shorts) // 2])
        self._pictures = torch.zeros(len(pictures), 3, self._side, self._side, dtype=torch.uint8, device=self._device)
        sizes = []
        for slot, picture in zip(self._pictures, pictures, strict=True):
            top, left = (max(0, (extent - self._side) // 2) for extent in picture.shape[:2])
            part = picture[top : top + self._side, left : left + self._side].permute(2, 0, 1)
            slot[:, : part.shape[1], : part.shape[2]] = part
            sizes.append(part.shape[1:])
        self._sizes = torch.tensor(sizes, dtype=torch.float32, device=self._device)
        self._usable: dict[tuple[int, int], Tensor] = {}

    def draw(self, n: int, size: tuple[int, int]) -> Tensor:
        """Crops with changed colours, (n, 3, height, width) in [0, 1], of pictures that need not be enlarged for it."""
        usable = self.large_enough(size)
        index = usable[torch.randint(len(usable), (n,), device=self._device)]
        cropped = self.cropped(index, size, torch.rand(n, 4, device=self._device))

        def normal(channels: int) -> Tensor:
            return torch.randn(n, channels, 1, 1, device=self._device)

        gain = _GAIN_STD * normal(1) + _TINT_STD * normal(3)
        return (cropped * gain.exp() + _OFFSET_STD * normal(1)).clamp(0, 1)

    def middles(self, size: tuple[int, int]) -> Tensor:
        """The middle of each picture, (N, 3, height, width) in [0, 1]."""
        index = torch.arange(len(self._pictures), device=self._device)
        return self.cropped(index, size, torch.full((len(index), 4), 0.5, device=self._device))

    def large_enough(self, size: tuple[int, int]) -> Tensor:
        """Positions of pictures of which a crop can be taken without enlarging; all, if there are none."""
        if size not in self._usable:
            zoom = (self._sizes / torch.tensor(size, device=self._device)).amin(dim=1)
            found = (zoom >= MIN_ZOOM).nonzero().flatten()
            self._usable[size] = found if len(found) else torch.arange(len(self._pictures), device=self._device)
        return self._usable[size]

    def cropped(self, index: Tensor, size: tuple[int, int], chance: Tensor) -> Tensor:
        """Crops of given pictures, (n, 3, height, width) in [0, 1].

        `chance`, (n, 4) in [0, 1], decides on zoom, place down and across, and mirroring.
        """
        wanted = torch.tensor(size, dtype=torch.float32, device=self._device)
        available = self._sizes[index]
        max_zoom = (available / wanted).amin(dim=1).clamp(max=MAX_ZOOM)
        min_zoom = max_zoom.clamp(max=MIN_ZOOM)
        extent = (min_zoom + chance[:, 0] * (max_zoom - min_zoom))[:, None] * wanted
        middle = extent / 2 + chance[:, 1:3] * (available - extent)
        theta = torch.zeros(len(index), 2, 3, device=self._device)
        theta[:, 0, 0] = extent[:, 1] / self._side * torch.where(chance[:, 3] < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = extent[:, 0] / self._side
        theta[:, 0, 2] = 2 * middle[:, 1] / self._side - 1
        theta[:, 1, 2] = 2 * middle[:, 0] / self._side - 1
        grid = F.affine_grid(theta, [len(index), 3, *size], align_corners=False)
        pictures = self._pictures[index].float() / 255
        return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def paint(model: Model, clip: Tensor, holes: Tensor) -> Tensor:
    """What the network paints of each frame, without what its use on videos adds (smaller sizes, texture)."""
    pictures, missing = clip.flatten(0, 1), holes.flatten(0, 1)
    painted: Tensor = cast("Painter", model).network(pictures, missing)
    return painted.view_as(clip)


TRAINING = {"painter": ModelTraining(PictureSamples, paint, {})}
