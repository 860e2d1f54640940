"""Single pictures with holes: everything lies on the training device, and batches are cropped and cut out there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

from vidfill.train.data import TrainingData
from vidfill.train.picture_holes import HoleShapes

# Of a clip, one frame in so many is used.
CLIP_STRIDE = 20
# Pictures are kept up to so many times their median short side; what is longer loses its ends.
LONGEST = 1.5
# Pixels of the picture for each pixel of a crop: enlarging blurs, reducing is limited by the picture.
LEAST_ZOOM, MOST_ZOOM = 0.94, 1.4
# Standard deviations of the brightness of all channels and of each (logarithms), and of an offset.
GAIN, TINT, LIFT = 0.08, 0.03, 0.02


class PictureBank:
    """Draws batches of pictures and holes.

    Args:
        pictures: (H, W, 3) uint8 RGB each, sizes differ; at least one.
        holes: where the holes come from.
        device: where everything lies.
    """

    def __init__(self, pictures: Sequence[Tensor], holes: HoleShapes, device: torch.device) -> None:
        self._holes, self._device = holes, device
        shorts = sorted(min(picture.shape[:2]) for picture in pictures)
        self._side = int(LONGEST * shorts[len(shorts) // 2])
        self._pictures = torch.zeros(len(pictures), 3, self._side, self._side, dtype=torch.uint8, device=device)
        sizes = []
        for place, picture in zip(self._pictures, pictures, strict=True):
            top, left = (max(0, (extent - self._side) // 2) for extent in picture.shape[:2])
            part = picture[top : top + self._side, left : left + self._side].permute(2, 0, 1)
            place[:, : part.shape[1], : part.shape[2]] = part
            sizes.append(part.shape[1:])
        self._sizes = torch.tensor(sizes, dtype=torch.float32, device=device)
        self._usable: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._pictures)

    def draw(self, n: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch, drawn by torch's own generator of the device.

        Args:
            n: pictures.
            size: (height, width).

        Returns:
            (n, 3, height, width) in [0, 1] and (n, 1, height, width), 1 = missing.
        """
        usable = self._large_enough(size)
        index = usable[torch.randint(len(usable), (n,), device=self._device)]
        cropped = self._cropped(index, size, torch.rand(n, 4, device=self._device))
        gain = GAIN * torch.randn(n, 1, 1, 1, device=self._device) + TINT * torch.randn(n, 3, 1, 1, device=self._device)
        lift = LIFT * torch.randn(n, 1, 1, 1, device=self._device)
        return (cropped * gain.exp() + lift).clamp(0, 1), self._holes.draw(n, size)

    def first(self, n: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The middles of the first pictures, and holes that are drawn; else as `draw`."""
        index = torch.arange(min(n, len(self)), device=self._device)
        middle = torch.full((len(index), 4), 0.5, device=self._device)
        return self._cropped(index, size, middle), self._holes.draw(len(index), size)

    def _large_enough(self, size: tuple[int, int]) -> Tensor:
        """Which pictures a crop can be taken of without enlarging; all, if there are none."""
        if size not in self._usable:
            zoom = (self._sizes / torch.tensor(size, device=self._device)).amin(dim=1)
            found = (zoom >= LEAST_ZOOM).nonzero().flatten()
            self._usable[size] = found if len(found) else torch.arange(len(self), device=self._device)
        return self._usable[size]

    def _cropped(self, index: Tensor, size: tuple[int, int], chance: Tensor) -> Tensor:
        wanted = torch.tensor(size, dtype=torch.float32, device=self._device)
        available = self._sizes[index]
        most = (available / wanted).amin(dim=1).clamp(max=MOST_ZOOM)
        least = most.clamp(max=LEAST_ZOOM)
        extent = (least + chance[:, 0] * (most - least))[:, None] * wanted
        middle = extent / 2 + chance[:, 1:3] * (available - extent)
        theta = torch.zeros(len(index), 2, 3, device=self._device)
        theta[:, 0, 0] = extent[:, 1] / self._side * torch.where(chance[:, 3] < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = extent[:, 0] / self._side
        theta[:, 0, 2] = 2 * middle[:, 1] / self._side - 1
        theta[:, 1, 2] = 2 * middle[:, 0] / self._side - 1
        grid = F.affine_grid(theta, [len(index), 3, *size], align_corners=False)
        pictures = self._pictures[index].float() / 255
        return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def training_pictures(data: TrainingData) -> list[Tensor]:
    """The photos, and some frames of each clip."""
    return [*data.photos, *(frame for clip in data.clips for frame in clip[CLIP_STRIDE // 2 :: CLIP_STRIDE])]


def held_back_pictures(data: TrainingData) -> list[Tensor]:
    """The same of what is held back."""
    return [*data.held_back_photos, *(clip[len(clip) // 2] for clip in data.held_back)]
