"""Onion-Peel Networks written down as plainly as they go, on tensors under their authors' names: for comparison only.

Every gated convolution is two, every peel encodes and decodes the whole frame, attention is one matrix of all pixels of
a peel by all known pixels of all references, one clip at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor

Features = tuple[Tensor, Tensor]
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class TwinOPN:
    """Frames are (1, 3, H, W) in [0, 1], holes (1, 1, H, W); height and width multiples of four.

    Args:
        tensors: by the authors' names.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.p = tensors

    def remember(self, frame: Tensor, hole: Tensor) -> Features:
        """Keys and values (N, C) of the known pixels of a reference."""
        key, value = self._encode(frame * (1 - hole) + MEAN * hole, 1 - hole, hole)
        known = F.interpolate(hole, scale_factor=0.25, mode="bilinear", align_corners=False)[0, 0] == 0
        return key[0][:, known].T, value[0][:, known].T

    def complete(self, frame: Tensor, hole: Tensor, memory: Sequence[Features]) -> list[Tensor]:
        """The frame after each peel, the hole that is left in the mean colour."""
        distance = cv2.distanceTransform(hole[0, 0].numpy().astype(np.uint8), cv2.DIST_L2, 5)
        frame = frame * (1 - hole) + MEAN * hole
        done = []
        while distance.sum() > 0:
            peel = torch.from_numpy(((distance > 0) & (distance <= 8)).astype(np.float32))[None, None]
            left = torch.from_numpy((distance > 0).astype(np.float32))[None, None]
            key, value = self._encode(frame, 1 - hole, left)
            asked = F.interpolate(peel, scale_factor=0.25, mode="bilinear", align_corners=False)[0, 0] >= 0.5
            if memory and asked.any():
                value = value.clone()
                value[0][:, asked] += self._attend(key[0][:, asked].T, memory).T
            fill = (self._decode(value) * STD + MEAN).clamp(0, 1)
            frame = (1 - peel) * frame + peel * fill
            done.append(frame)
            distance = (distance - 8).clip(0)
        return done

    def _attend(self, queries: Tensor, memory: Sequence[Features]) -> Tensor:
        keys, values = (torch.cat(parts) for parts in zip(*memory, strict=True))
        return torch.softmax(queries @ keys.T / keys.shape[1] ** 0.5, dim=1) @ values

    def _encode(self, frame: Tensor, valid: Tensor, hole: Tensor) -> Features:
        x = torch.cat([(frame - MEAN) / STD, valid, hole], dim=1)
        x = self._gated("Encoder.conv2", self._gated("Encoder.conv12", x, stride=2))
        x = self._gated("Encoder.conv3a", self._gated("Encoder.conv23", x, stride=2))
        for layer, dilation in (("b", 2), ("c", 4), ("d", 8)):
            x = self._gated(f"Encoder.conv3{layer}", x, dilation=dilation)
        return self._gated("Encoder.key3", x, slope=1), self._gated("Encoder.val3", x, slope=1)

    def _decode(self, x: Tensor) -> Tensor:
        for layer, dilation in (("d", 8), ("c", 4), ("b", 2), ("a", 1)):
            x = self._gated(f"Decoder.conv3{layer}", x, dilation=dilation)
        x = self._gated("Decoder.conv2", self._gated("Decoder.conv32", _twice(x)))
        return self._gated("Decoder.conv21", _twice(x), slope=1)

    def _gated(self, name: str, x: Tensor, *, stride: int = 1, dilation: int = 1, slope: float = 0.2) -> Tensor:
        return gated(self.p, name, x, stride=stride, dilation=dilation, slope=slope)


class TwinTCN:
    """The temporal network, one step at a time; height and width multiples of eight.

    Args:
        tensors: by the authors' names.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.p = tensors

    def step(self, before: Features, now: Features, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """The output (not clamped) and the hidden state; `before` and `now` are frames with their holes."""
        x = torch.cat([(before[0] - MEAN) / STD, before[1], (now[0] - MEAN) / STD, now[1]], dim=1)
        s1 = self._gated("Encoder.conv1", x)
        s2 = self._gated("Encoder.conv2", self._gated("Encoder.conv21", s1, stride=2))
        s3 = self._gated("Encoder.conv3b", self._gated("Encoder.conv3a", self._gated("Encoder.conv23", s2, stride=2)))
        x = self._gated("Encoder.conv4b", self._gated("Encoder.conv4a", self._gated("Encoder.conv34", s3, stride=2)))
        hidden = self._remember(x, torch.zeros_like(x) if hidden is None else hidden)
        x = self._gated("Decoder.conv4a", self._gated("Decoder.conv4b", hidden, dilation=2))
        x = self._gated("Decoder.conv43", _twice(x)) + s3
        x = self._gated("Decoder.conv3a", self._gated("Decoder.conv3b", x, dilation=2))
        x = self._gated("Decoder.conv2", self._gated("Decoder.conv32", _twice(x)) + s2)
        x = self._gated("Decoder.conv21", _twice(x)) + s1
        return self._gated("Decoder.conv1", x, slope=1) * STD + MEAN, hidden

    def _remember(self, x: Tensor, hidden: Tensor) -> Tensor:
        own, old = (
            F.conv2d(y, self.p[f"GRU.{name}.weight"], self.p[f"GRU.{name}.bias"], padding=1).chunk(3, dim=1)
            for name, y in (("convIH", x), ("convHH", hidden))
        )
        reset, update = torch.sigmoid(own[0] + old[0]), torch.sigmoid(own[1] + old[1])
        new = torch.tanh(own[2] + reset * old[2])
        return new + update * (hidden - new)

    def _gated(self, name: str, x: Tensor, *, stride: int = 1, dilation: int = 1, slope: float = 0.2) -> Tensor:
        return gated(self.p, name, x, stride=stride, dilation=dilation, slope=slope)


def gated(p: Mapping[str, Tensor], name: str, x: Tensor, *, stride: int, dilation: int, slope: float) -> Tensor:
    """The authors' gated convolution: one for the features, one for the gate."""
    kernel = p[f"{name}.input_conv.weight"].shape[-1]
    feature, gate = (
        F.conv2d(
            x, p[f"{name}.{part}.weight"], p[f"{name}.{part}.bias"],
            stride=stride, padding=dilation * (kernel // 2), dilation=dilation,
        )
        for part in ("input_conv", "gating_conv")
    )  # fmt: skip
    return F.leaky_relu(feature, slope) * torch.sigmoid(gate)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
