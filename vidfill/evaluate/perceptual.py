"""LPIPS and VFID: scores by the features of trained networks, where those networks are already here.

Nothing is fetched. LPIPS needs torchvision and AlexNet's weights in torch's own cache; VFID needs
`i3d_rgb_imagenet.pt` in the folder of the user's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidfill.evaluate.protocol import EvaluationClip, Frames
from vidfill.weights import default_model_dir, read_torch_checkpoint

if TYPE_CHECKING:
    from vidfill.evaluate.results import Measures

I3D_FILE = "i3d_rgb_imagenet.pt"
Features = NDArray[np.float64]
PairScore = Callable[[Tensor, Tensor], Tensor]
Embedding = Callable[[Tensor], Tensor]


class Perceptual:
    """What of the two can be computed here.

    Args:
        lpips: (1, 3, H, W) in [0, 1] twice -> a number; None without the network.
        embed: (1, 3, T, H, W) in [0, 1] -> (1, D) features of a video; None without the network.
    """

    def __init__(self, lpips: PairScore | None, embed: Embedding | None) -> None:
        self._lpips, self._embed = lpips, embed
        self._features: dict[tuple[str, str], dict[str, tuple[Features, Features]]] = {}

    def frame_scores(self, output: Frames, clip: EvaluationClip, indices: Sequence[int]) -> Measures:
        """`lpips`, the mean over the frames at `indices`; nothing without the network."""
        if self._lpips is None:
            return {}
        pairs = ((_picture(output[i]), _picture(clip.frames[i])) for i in indices)
        with torch.inference_mode():
            return {"lpips": float(np.mean([float(self._lpips(*pair)) for pair in pairs]))}

    def add_clip(self, protocol: str, label: str, output: Frames, clip: EvaluationClip) -> None:
        """Note the features of a filled clip and of its truth."""
        if self._embed is None:
            return
        with torch.inference_mode():
            filled, truth = (self._embed(_video(v))[0].double().cpu().numpy() for v in (output, clip.frames))
        self._features.setdefault((protocol, label), {})[clip.name] = (filled, truth)

    def set_scores(self, protocol: str, label: str, clips: Sequence[str]) -> Measures:
        """`vfid` of all clips together; nothing while fewer than two, or not all of them, were added."""
        features = self._features.get((protocol, label), {})
        if len(clips) < 2 or set(features) != set(clips):
            return {}
        filled, truth = (np.stack([features[name][side] for name in clips]) for side in (0, 1))
        return {"vfid": frechet_distance(filled, truth)}


def find_perceptual(model_dir: Path | None) -> tuple[Perceptual, list[str]]:
    """Look for the networks; returns what can be computed, and why something cannot.

    Raises:
        WeightsError: a file that is there but damaged or of another network.
    """
    lpips, no_lpips = _find_lpips()
    path = (model_dir or default_model_dir()) / I3D_FILE
    embed: Embedding | None = None
    if path.is_file():
        from vidfill.evaluate.i3d import load_i3d

        embed = load_i3d(read_torch_checkpoint(path), source=path.name)
    reasons = [no_lpips, "" if embed is not None else f"VFID is left out: there is no {path}"]
    return Perceptual(lpips, embed), [reason for reason in reasons if reason]


def frechet_distance(a: Features, b: Features) -> float:
    """The Fréchet distance of two sets of features, each taken for a Gaussian: (N, D) each, two or more rows.

    `|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2))` with the covariances A and B. The trace of the root comes from the
    singular values of the centred features' product, which has as many rows as there are videos: no root of a large
    and singular matrix.

    Source: Heusel et al., NeurIPS 2017, equation 6; for video Wang et al., NeurIPS 2018, section 4 (VFID).
    """
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    trace_a, trace_b = ((c**2).sum() / (len(c) - 1) for c in (centred_a, centred_b))
    scale = np.sqrt((len(a) - 1) * (len(b) - 1))
    trace_root = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum() / scale
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + trace_a + trace_b - 2 * trace_root)


def _find_lpips() -> tuple[PairScore | None, str]:
    if find_spec("torchvision") is None:
        return None, "LPIPS is left out: torchvision is not installed (pip install 'vidfill[perceptual]')"
    try:
        from torchvision.models import AlexNet_Weights
    except (ImportError, RuntimeError) as error:  # a build for another torch
        return None, f"LPIPS is left out: torchvision does not work with torch {torch.__version__} ({error})"
    name = str(AlexNet_Weights.DEFAULT.url).rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        return None, f"LPIPS is left out: there is no {path}"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    # The module, not the function: that one builds the network for every call.
    network: PairScore = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    return network, ""


def _picture(frame: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float()[None] / 255


def _video(frames: Frames) -> Tensor:
    """(1, 3, T, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(frames).transpose(3, 0, 1, 2)).float()[None] / 255
