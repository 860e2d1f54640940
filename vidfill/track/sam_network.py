"""The Segment Anything network: imported, built from the sizes of a checkpoint, asked about pictures."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidfill.errors import WeightsError
from vidfill.track.base import Picture
from vidfill.video.frame import Bool, Float
from vidfill.weights import read_torch_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

N_CACHED = 4
"""Embeddings kept, one for each picture: 4 MB each."""
STABILITY_OFFSET = 1.0
"""Logits by which the threshold is moved to see whether a mask hangs on it (SAM's own automatic masks do the same)."""
NEARLY_BEST = 0.85
"""A mask of this part of the best one's score is good enough to be chosen for its size."""
PRIOR_LOGIT = 8.0
WINDOW_REL_POS = 27
"""Rows of relative positions in blocks whose attention is within windows of 14 patches."""

_TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.boxes",
)


def import_segment_anything() -> ModuleType:
    """The package segment_anything, also where torchvision is missing or broken.

    It imports four small functions of torchvision. Where torchvision cannot be imported (found or not: a build for
    another torch is found, and fails), stand-ins take their place while segment_anything is imported, and go again.
    """
    if "segment_anything" not in sys.modules and not _torchvision_works():
        before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
        for name in before:
            del sys.modules[name]
        sys.modules.update(_stand_ins())
        try:
            importlib.import_module("segment_anything")
        finally:
            for name in _TORCHVISION:
                del sys.modules[name]
            sys.modules.update(before)
    return importlib.import_module("segment_anything")


def _torchvision_works() -> bool:
    try:
        importlib.import_module("torchvision.ops.boxes")
        importlib.import_module("torchvision.transforms.functional")
    except Exception:  # noqa: BLE001 - a build for another torch fails in ways of its own
        return False
    return True


def _stand_ins() -> dict[str, ModuleType]:
    modules = {name: ModuleType(name) for name in _TORCHVISION}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    functions: dict[str, Any] = {"to_pil_image": _as_it_is, "resize": _resize}
    vars(modules["torchvision.transforms.functional"]).update(functions)
    vars(modules["torchvision.ops.boxes"]).update({"batched_nms": _no_nms, "box_area": _box_area})
    return modules


def _as_it_is(picture: Picture) -> Picture:
    return picture


def _resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """(h, w, 3) at another (height, width), bilinear with antialiasing, as Pillow does it."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the name the field uses

    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    resized = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(resized[0].permute(1, 2, 0).numpy(), np.uint8)


def _box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _no_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    raise RuntimeError("batched_nms needs torchvision; SamPredictor does without")


class SamNetwork:
    """A SAM and its predictor; the embedding of each picture is worked out once.

    Args:
        path: a checkpoint of vit_b, vit_l or vit_h, or of the same classes in other sizes.
        device: of torch. On CUDA the network runs in float16.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        package = import_segment_anything()
        self._device = device
        network = build_sam(package, read_torch_checkpoint(path), name=path.name).to(device).eval()
        self._predictor: Any = package.SamPredictor(network)
        self._low_side = 4 * network.prompt_encoder.image_embedding_size[0]
        self._embeddings: OrderedDict[bytes, tuple[Tensor, tuple[int, int], tuple[int, int]]] = OrderedDict()

    def predict(
        self,
        picture: Picture,
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
            several: three masks of different extent, for prompts that may mean several things; else one.
        """
        with self._computing():
            self._look(picture)
            logits, scores, _ = self._predictor.predict(
                point_coords=points if len(points) else None,
                point_labels=is_object.astype(np.int32) if len(points) else None,
                box=None if box is None else np.array(box, np.float32),
                mask_input=None if prior is None else self._as_mask_input(prior),
                multimask_output=several,
                return_logits=True,
            )
        return Answers(np.asarray(logits, np.float32), np.asarray(scores, np.float32))

    def _look(self, picture: Picture) -> None:
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest() + str(picture.shape).encode()
        known = self._embeddings.pop(key, None)
        if known is None:
            self._predictor.set_image(np.ascontiguousarray(picture))
            known = self._predictor.features, self._predictor.input_size, self._predictor.original_size
        else:
            predictor = self._predictor
            predictor.features, predictor.input_size, predictor.original_size = known
            predictor.is_image_set = True
        self._embeddings[key] = known
        while len(self._embeddings) > N_CACHED:
            self._embeddings.popitem(last=False)

    def _as_mask_input(self, prior: Float) -> Float:
        """(1, S, S) logits as the prompt encoder takes them: the picture in the upper left, its longer side S."""
        scale = self._low_side / max(prior.shape)
        height, width = (max(1, round(side * scale)) for side in prior.shape)
        small = cv2.resize(prior.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        logits = np.full((1, self._low_side, self._low_side), -PRIOR_LOGIT, np.float32)
        logits[0, :height, :width] = (2 * small - 1) * PRIOR_LOGIT
        return logits

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        import torch

        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._device.startswith("cuda"):
                stack.enter_context(torch.autocast("cuda", torch.float16))
            yield


class Answers(NamedTuple):
    """Masks that SAM proposes.

    Attributes:
        logits: (N, H, W), above 0 inside.
        scores: (N,) the IoU that SAM expects each of them to have.
    """

    logits: Float
    scores: Float

    def values(self) -> Float:
        """(N,) in [0, 1]: the expected IoU times how little the mask hangs on the threshold."""
        high = (self.logits > STABILITY_OFFSET).sum(axis=(1, 2))
        low = (self.logits > -STABILITY_OFFSET).sum(axis=(1, 2))
        return np.asarray(np.clip(self.scores, 0, 1) * (high / np.maximum(low, 1)), np.float32)

    def choose(self, *, whole: bool | None) -> int:
        """The best of them; the largest or the smallest of those nearly as good where that is asked for."""
        values = self.values()
        best = int(values.argmax())
        if whole is None:
            return best
        good = [i for i, value in enumerate(values) if value >= NEARLY_BEST * values[best]]
        areas = (self.logits > 0).sum(axis=(1, 2))
        return int((max if whole else min)(good, key=lambda i: areas[i]))


def build_sam(package: ModuleType, tensors: Mapping[str, Tensor], *, name: str) -> Any:
    """A SAM of the sizes that its tensors have, with them in it.

    Args:
        package: segment_anything.
        tensors: of a checkpoint, by name.
        name: of the checkpoint, for messages.

    Raises:
        WeightsError: they are not those of a SAM.
    """
    try:
        network = _empty_sam(package, tensors)
        network.load_state_dict(dict(tensors), strict=True)
    except (KeyError, RuntimeError, ZeroDivisionError, ValueError) as error:
        raise WeightsError(
            f"{name} is no checkpoint of Segment Anything ({str(error).splitlines()[0]})",
            todo="fetch one with `vidfill weights fetch sam_vit_b`",
        ) from error
    return network


def _empty_sam(package: ModuleType, tensors: Mapping[str, Tensor]) -> Any:
    """The network of `segment_anything.build_sam`, of any size."""
    import torch

    modeling = package.modeling
    patch = tensors["image_encoder.patch_embed.proj.weight"]
    width, patch_px = patch.shape[0], patch.shape[2]
    side = tensors["image_encoder.pos_embed"].shape[1]
    rows = [tensors[key] for key in _block_keys(tensors)]
    prompt_width = tensors["prompt_encoder.no_mask_embed.weight"].shape[1]
    encoder = modeling.ImageEncoderViT(
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
    prompts = modeling.PromptEncoder(
        embed_dim=prompt_width,
        image_embedding_size=(side, side),
        input_image_size=(side * patch_px, side * patch_px),
        mask_in_chans=16,
    )
    decoder = modeling.MaskDecoder(
        num_multimask_outputs=3,
        transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=prompt_width, mlp_dim=2048, num_heads=8),
        transformer_dim=prompt_width,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return modeling.Sam(
        image_encoder=encoder,
        prompt_encoder=prompts,
        mask_decoder=decoder,
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def _block_keys(tensors: Mapping[str, Tensor]) -> list[str]:
    keys = [key for key in tensors if key.startswith("image_encoder.blocks.") and key.endswith(".attn.rel_pos_h")]
    if not keys:
        raise KeyError("image_encoder.blocks")
    return sorted(keys, key=lambda key: int(key.split(".")[2]))
