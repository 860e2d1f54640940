"""The Segment Anything network: built from the sizes of a checkpoint, and asked for masks."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from numpy.typing import NDArray
from torch import Tensor

from vidfill.errors import WeightsError
from vidfill.video.frame import Bool, Float, Rgb
from vidfill.weights import read_torch_checkpoint

N_CACHED = 4
"""Embeddings kept, one for each picture: 4 MB each."""
STABILITY_OFFSET = 1.0
"""Change of the threshold of logits in `stability`, as in SAM's own automatic masks."""
MIN_SCORE_RATIO = 0.85
"""Masks of at least this ratio of the best score may be chosen for their size."""
PRIOR_LOGIT = 8.0
WINDOW_REL_POS = 27
"""Rows of relative positions in blocks with attention within windows of 14 patches."""


def sam_classes() -> ModuleType:
    """The package `segment_anything.modeling`, without the rest of segment_anything, which needs torchvision."""
    name = "segment_anything_modeling"
    if name not in sys.modules:
        package = importlib.util.find_spec("segment_anything")
        assert package is not None and package.submodule_search_locations is not None, "a dependency of vidfill"
        folder = Path(package.submodule_search_locations[0], "modeling")
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class SamNetwork:
    """A SAM that computes the embedding of each picture once.

    `predict` does what `segment_anything.SamPredictor` does.

    Args:
        path: a checkpoint of vit_b, vit_l or vit_h, or of the same classes in other sizes.
        device: of torch. On CUDA the network runs in float16.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self._device = device
        self._network = build_sam(read_torch_checkpoint(path), name=path.name).to(device).eval()
        self._side: int = self._network.image_encoder.img_size
        self._embeddings: OrderedDict[bytes, Tensor] = OrderedDict()

    def predict(
        self,
        picture: Rgb,
        *,
        points: NDArray[np.float32],
        is_object: Bool,
        box: tuple[float, float, float, float] | None = None,
        prior: Float | None = None,
        several: bool = True,
    ) -> Answers:
        """Ask for masks.

        Args:
            picture: (H, W, 3).
            points: (N, 2) x and y.
            is_object: (N,) whether they are on the object.
            box: x0, y0, x1, y1 round it.
            prior: (H, W) probability of the object before.
            several: return three masks of different extent, for ambiguous prompts; else one.
        """
        height, width = picture.shape[:2]
        input_size = self._input_size(height, width)
        scale = np.array([input_size[1] / width, input_size[0] / height])
        network = self._network
        given = None
        if len(points):
            labels = torch.as_tensor(is_object.astype(np.int32), device=self._device)
            given = self._tensor(points * scale)[None], labels[None]
        on_cuda = self._device.startswith("cuda")
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=on_cuda):
            sparse, dense = network.prompt_encoder(
                points=given,
                boxes=None if box is None else self._tensor(np.array([box], np.float32) * np.tile(scale, 2)),
                masks=None if prior is None else self._tensor(self._as_mask_input(prior))[None],
            )
            masks, scores = network.mask_decoder(
                image_embeddings=self._embed(picture, input_size),
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
            )
            logits = network.postprocess_masks(masks, input_size, (height, width))
        return Answers(*(np.asarray(found[0].cpu().numpy(), np.float32) for found in (logits, scores)))

    def _input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture whose longer side is that of the network's input."""
        scale = self._side / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def _embed(self, picture: Rgb, size: tuple[int, int]) -> Tensor:
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest() + str(picture.shape).encode()
        embedding = self._embeddings.pop(key, None)
        if embedding is None:
            image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
            resized = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
            embedding = self._network.image_encoder(self._network.preprocess(resized.to(self._device)))
        self._embeddings[key] = embedding
        while len(self._embeddings) > N_CACHED:
            self._embeddings.popitem(last=False)
        return embedding

    def _as_mask_input(self, prior: Float) -> Float:
        """(1, S, S) logits as the prompt encoder takes them: the picture in the upper left, its longer side S."""
        low_side = 4 * self._network.prompt_encoder.image_embedding_size[0]
        scale = low_side / max(prior.shape)
        height, width = (max(1, round(side * scale)) for side in prior.shape)
        small = cv2.resize(prior.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        logits = np.full((1, low_side, low_side), -PRIOR_LOGIT, np.float32)
        logits[0, :height, :width] = (2 * small - 1) * PRIOR_LOGIT
        return logits

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)


class Answers(NamedTuple):
    """Masks that SAM proposes.

    Attributes:
        logits: (N, H, W), above 0 inside.
        scores: (N,) the IoU that SAM expects each of them to have.
    """

    logits: Float
    scores: Float

    def values(self) -> Float:
        """(N,) in [0, 1]: the expected IoU times the `stability`."""
        return np.asarray(np.clip(self.scores, 0, 1) * stability(self.logits), np.float32)

    def choose(self, *, whole: bool | None) -> int:
        """The best of them; if `whole` is given, the largest (True) or smallest of those nearly as good."""
        values = self.values()
        best = int(values.argmax())
        if whole is None:
            return best
        good = [i for i, value in enumerate(values) if value >= MIN_SCORE_RATIO * values[best]]
        areas = (self.logits > 0).sum(axis=(1, 2))
        return int((max if whole else min)(good, key=lambda i: areas[i]))


def stability(logits: Float) -> NDArray[np.float64]:
    """How little the area of a (..., H, W) mask changes with the threshold of its logits, in [0, 1]."""
    high = (logits > STABILITY_OFFSET).sum(axis=(-2, -1))
    return np.asarray(high / np.maximum((logits > -STABILITY_OFFSET).sum(axis=(-2, -1)), 1), np.float64)


def build_sam(tensors: Mapping[str, Tensor], *, name: str) -> Any:
    """A SAM with the tensors of a checkpoint, of the sizes that they have; `name` is for messages.

    Raises:
        WeightsError: they are not those of a SAM.
    """
    try:
        network = _empty_sam(tensors)
        network.load_state_dict(dict(tensors), strict=True)
    except (KeyError, RuntimeError, ZeroDivisionError, ValueError) as error:
        raise WeightsError(
            f"{name} is no checkpoint of Segment Anything ({str(error).splitlines()[0]})",
            todo="fetch one with `vidfill weights fetch sam_vit_b`",
        ) from error
    return network


def _empty_sam(tensors: Mapping[str, Tensor]) -> Any:
    """The network of `segment_anything.build_sam`, of any size."""
    classes = sam_classes()
    patch = tensors["image_encoder.patch_embed.proj.weight"]
    width, patch_px = patch.shape[0], patch.shape[2]
    side = tensors["image_encoder.pos_embed"].shape[1]
    keys = [key for key in tensors if key.startswith("image_encoder.blocks.") and key.endswith(".attn.rel_pos_h")]
    if not keys:
        raise KeyError("image_encoder.blocks")
    rows = [tensors[key] for key in sorted(keys, key=lambda key: int(key.split(".")[2]))]
    prompt_width = tensors["prompt_encoder.no_mask_embed.weight"].shape[1]
    encoder = classes.ImageEncoderViT(
        depth=len(rows),
        embed_dim=width,
        img_size=side * patch_px,
        mlp_ratio=tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=width // rows[0].shape[1],
        patch_size=patch_px,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[i for i, row in enumerate(rows) if row.shape[0] != WINDOW_REL_POS],
        window_size=(WINDOW_REL_POS + 1) // 2,
        out_chans=prompt_width,
    )
    prompts = classes.PromptEncoder(
        embed_dim=prompt_width,
        image_embedding_size=(side, side),
        input_image_size=(side * patch_px, side * patch_px),
        mask_in_chans=16,
    )
    decoder = classes.MaskDecoder(
        num_multimask_outputs=3,
        transformer=classes.TwoWayTransformer(depth=2, embedding_dim=prompt_width, mlp_dim=2048, num_heads=8),
        transformer_dim=prompt_width,
    )
    return classes.Sam(encoder, prompts, decoder)
