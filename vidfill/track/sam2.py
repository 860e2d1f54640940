"""SAM 2 (Ravi et al., 2024) through transformers: selects and follows objects with one network, frame by frame.

Importing this module needs the extra `sam2`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.utils import logging

from vidfill.errors import WeightsError
from vidfill.masks.prompt import FramePrompt
from vidfill.track.base import CONFIDENT, Near, Tracked
from vidfill.track.doubt import COLORS
from vidfill.track.flow import ObjectColors
from vidfill.track.sam import representative_points
from vidfill.track.sam_network import stability
from vidfill.track.select import selected
from vidfill.video.frame import Bool, Float, Rgb

# Of the network's training data (ImageNet).
_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_BOX_CORNERS = (2, 3)  # labels of a box's corners among the points


class Sam2Network:
    """A `Sam2VideoModel`, which is also a selector; see `vidfill.track.base.Selector`.

    Args:
        folder: of the weights.
        device: of torch. On CUDA the network runs in bfloat16.

    Raises:
        WeightsError: the folder holds another network, or is damaged.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        try:
            model: Any = Sam2VideoModel.from_pretrained(folder, local_files_only=True, dtype=self._dtype)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise WeightsError(
                f"{folder} holds no SAM 2 ({str(error).splitlines()[0]})", todo="fetch it again"
            ) from error
        self.model = model.to(device).eval()
        self._device = device
        self.side: int = self.model.image_size
        self.n_remembered: int = max(self.model.num_maskmem, self.model.config.max_object_pointers_in_encoder)

    def begin(self, picture: Rgb) -> Any:
        """A session that follows one object, without a frame yet."""
        session = Sam2VideoInferenceSession(
            video_height=picture.shape[0],
            video_width=picture.shape[1],
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=self._dtype,
        )
        session.obj_id_to_idx(1)
        return session

    def run(self, session: Any, picture: Rgb, index: int) -> tuple[Float, float]:
        """Logits (H, W) of the object on a frame, and the probability that it is visible there."""
        square = cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA).astype(np.float32)
        frame = torch.from_numpy((square / 255 - _MEAN) / _STD).permute(2, 0, 1)[None].to(self._device, self._dtype)
        with torch.inference_mode():
            output = self.model(session, frame=frame, frame_idx=index)
        logits = output.pred_masks[0, 0].float().cpu().numpy()
        size_wh = (picture.shape[1], picture.shape[0])
        full = np.asarray(cv2.resize(logits, size_wh, interpolation=cv2.INTER_LINEAR), np.float32)
        return full, float(output.object_score_logits.float().sigmoid().max())

    def forget(self, session: Any, index: int) -> None:
        """Drop what no later frame uses: pictures, and all but the last outputs that no prompt gave."""
        session.processed_frames = {i: frame for i, frame in session.processed_frames.items() if i >= index}
        for outputs in session.output_dict_per_obj.values():
            tracked = outputs["non_cond_frame_outputs"]
            for old in [i for i in tracked if i <= index - self.n_remembered]:
                del tracked[old]
        for frames in session.frames_tracked_per_obj.values():
            for old in [i for i in frames if i <= index - self.n_remembered]:
                del frames[old]

    def select(self, picture: Rgb, prompt: FramePrompt, prior: Bool | None = None, near: Near = None) -> Tracked:
        """See `vidfill.track.base.Selector`; a prior track is represented by points inside it."""
        points, labels = prompt.points, prompt.is_object.astype(np.int64)
        if prior is not None and prior.any():
            more, is_inside = representative_points(prior)
            points, labels = np.concatenate([points, more[is_inside]]), np.append(labels, [1] * int(is_inside.sum()))
        if prompt.box is not None:
            corners = np.array(prompt.box, np.float32).reshape(2, 2)
            points, labels = np.concatenate([corners, points]), np.append(_BOX_CORNERS, labels)
        scale = self.side / np.array([picture.shape[1], picture.shape[0]], np.float32)
        session = self.begin(picture)
        given = {
            "point_coords": torch.from_numpy((points * scale).astype(np.float32))[None, None],
            "point_labels": torch.from_numpy(labels.astype(np.int32))[None, None],
        }
        session.add_point_inputs(0, 0, given)
        session.obj_with_new_inputs = [1]
        logits, visible = self.run(session, picture, 0)
        return selected(logits, visible * float(stability(logits)), prompt, network="SAM 2")


class Sam2Tracker:
    """Follows with SAM 2's memory; see `vidfill.track.base.Tracker`.

    The memory holds the frame that the track began with and the last ones, so that it does not grow with the video. An
    object that becomes visible again may be found again.
    """

    def __init__(self, network: Sam2Network) -> None:
        self._network = network
        self._session: Any = None

    def start(self, picture: Rgb, mask: Bool, *, clicked: Float | None = None) -> None:
        """See `vidfill.track.base.Tracker`."""
        side = self._network.side
        square = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR) > 0.5
        self._session = self._network.begin(picture)
        self._session.add_mask_inputs(0, 0, torch.from_numpy(square.astype(np.float32))[None, None])
        self._session.obj_with_new_inputs = [1]
        self._network.run(self._session, picture, 0)
        self._colors = ObjectColors(picture, mask.astype(np.float32))
        self._index = 0

    def step(self, picture: Rgb) -> Tracked:
        """See `vidfill.track.base.Tracker`."""
        assert self._session is not None, "start comes first"
        self._index += 1
        logits, visible = self._network.run(self._session, picture, self._index)
        self._network.forget(self._session, self._index)
        mask = logits > 0
        if visible < CONFIDENT or not mask.any():
            return Tracked(np.zeros_like(mask), min(visible, CONFIDENT / 2), "SAM 2 sees it no more")
        likeness = self._colors.likeness(picture, mask.astype(np.float32))
        confidence, reason = min(
            (visible * float(stability(logits)), "SAM 2 is not sure of it"),
            (COLORS.confidence(likeness), "its colours are no longer those of the object"),
        )
        return Tracked(mask, confidence, "" if confidence >= CONFIDENT else reason)
