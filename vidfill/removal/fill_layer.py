"""The fill as a layer of its own, to lay over the source in an editor: only the patches, transparent elsewhere.

Alpha is straight (not premultiplied): a pixel has the colour of the fill, and the layer over the source shows what the
finished picture would. What the source's own alpha leaves transparent stays so. Around the patches the source's colours
continue for some pixels under an alpha of 0, so that neither the codec nor an editor that resizes mixes black into the
rim; farther away the layer is black. Size, timing, colour tags and rotation are those of the source, without sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from vidfill.compose import compose
from vidfill.compose.noise import Noise
from vidfill.errors import OutputError
from vidfill.settings import ComposeSettings, EncodeSettings
from vidfill.settings.define import converted
from vidfill.video.color import matrix_of, paste_rgb, rgb_crop
from vidfill.video.formats import pixel_format
from vidfill.video.frame import Box, Float, Frame, Patch, Samples, VideoInfo
from vidfill.video.write import Writer, check_output, open_writer
from vidfill.video.write_images import is_folder_output

_MARGIN_PX = 32  # of the source's colours around a patch: what composing looks at, in whole blocks of the codec
_BLOCK_PX = 4
_LIMITED, _BT709 = 1, 1
_PRORES_MATRICES = frozenset({1, 5, 6, 9})
_CODECS = {".mov": "prores", ".mkv": "ffv1"}


def check_layer(output: Path | str, info: VideoInfo, *, overwrite: bool, inputs: list[Path]) -> list[str]:
    """Check before a long run that a layer can be written.

    Args:
        output: a .mov file (ProRes 4444), a .mkv file (FFV1), or a folder for PNG files.
        info: the source.
        overwrite: whether an existing layer may be replaced.
        inputs: files that are read, and never replaced.

    Returns:
        Warnings, one line each.

    Raises:
        OutputError: another kind of file, or one that cannot be written.
    """
    layer, settings = _layer_info(info, output), _settings(output)
    return check_output(output, layer, settings, overwrite=overwrite, inputs=inputs, picture_only=True)


@contextmanager
def open_layer(
    output: Path | str, info: VideoInfo, composing: ComposeSettings, *, overwrite: bool
) -> Iterator[FillLayer]:
    """Open a layer, see `check_layer`; the file is complete after a clean exit, else removed.

    Raises:
        OutputError: it cannot be written.
    """
    layer = _layer_info(info, output)
    with open_writer(output, layer, _settings(output), overwrite=overwrite, picture_only=True) as writer:
        yield FillLayer(writer, info, layer, composing)


class FillLayer:
    """Writes a layer, composed like the finished picture."""

    def __init__(self, writer: Writer, info: VideoInfo, layer: VideoInfo, composing: ComposeSettings) -> None:
        self._writer, self._info, self._layer = writer, info, layer
        self._composing = converted(ComposeSettings, composing)  # which makes nothing opaque
        self._keeps_alpha = info.pixel_format.has_alpha and not composing.makes_opaque
        self._blank = _blank(layer)

    def add(self, frame: Frame, patch: Patch | None, noise: Noise | None = None) -> None:
        """Append the layer of one frame.

        Args:
            frame: of the source, before its patch is composed into it.
            patch: None for a frame without a hole, which is all transparent.
            noise: of the frame, as for `compose`.

        Raises:
            OutputError: the disk is full.
        """
        made = Frame(frame.index, frame.pts, frame.time_base, tuple(plane.copy() for plane in self._blank))
        if patch is not None:
            height, width = self._layer.height, self._layer.width
            x0, y0, x1, y1 = patch.box.grow(_MARGIN_PX, height=height, width=width)
            around = Box(x0 // _BLOCK_PX * _BLOCK_PX, y0 // _BLOCK_PX * _BLOCK_PX, x1, y1)
            everywhere = np.ones((around.height, around.width), np.float32)
            paste_rgb(made, self._layer, around, rgb_crop(frame, self._info, around), everywhere)
            covered = np.where(patch.alpha > 0, 255, 0).astype(np.uint8)
            compose(made, self._layer, replace(patch, alpha=covered), self._composing, noise)
            top = (1 << self._layer.pixel_format.depth) - 1
            made.planes[-1][patch.box.slices] = np.rint(patch.alpha * self._opacity(frame, patch.box) * (top / 255))
        self._writer.write(made)

    def _opacity(self, frame: Frame, box: Box) -> Float:
        """Alpha of the source in a box, in [0, 1]; 1 if the finished picture does not keep it."""
        if not self._keeps_alpha:
            return np.ones((box.height, box.width), np.float32)
        top = np.float32((1 << self._info.pixel_format.depth) - 1)
        return np.asarray(frame.planes[-1][box.slices] / top, np.float32)


def _settings(output: Path | str) -> EncodeSettings:
    return EncodeSettings(codec=_CODECS.get(Path(output).suffix.lower(), "auto"))


def _layer_info(info: VideoInfo, output: Path | str) -> VideoInfo:
    """The layer as a video: the source's picture with alpha, in a format of the file's codec."""
    suffix = Path(output).suffix.lower()
    if not is_folder_output(output) and suffix not in _CODECS:
        raise OutputError(
            f"the fill layer {output} cannot have alpha",
            expected=".mov (ProRes 4444), .mkv (FFV1) or a folder for PNG files",
            todo="give it such a name",
        )
    depth = next(bits for bits in (8, 10, 12, 16) if bits >= info.pixel_format.depth)
    is_yuv = info.pixel_format.kind == "yuv"
    color = replace(info.color, matrix=matrix_of(info))
    if suffix == ".mov" and not is_folder_output(output):
        # ProRes is always in limited range.
        matrix = color.matrix if is_yuv and color.matrix in _PRORES_MATRICES else _BT709
        name, color = "yuva444p10le", replace(color, matrix=matrix, range=_LIMITED)
    elif suffix == ".mkv" and is_yuv:
        name = "yuva444p" if depth == 8 else f"yuva444p{depth}le"
    else:
        name = "gbrap" if depth == 8 else f"gbrap{depth}le"
        color = replace(color, matrix=0, range=0)
    return replace(info, pixel_format=pixel_format(name), color=color, hdr=None, streams=(), warnings=())


def _blank(layer: VideoInfo) -> tuple[Samples, ...]:
    """Black, transparent planes."""
    size = layer.height, layer.width
    n_planes = layer.pixel_format.n_color_planes + 1
    planes: tuple[Samples, ...] = tuple(np.zeros(size, np.uint8) for _ in range(n_planes))
    if layer.pixel_format.depth > 8:
        planes = tuple(np.zeros(size, np.uint16) for _ in range(n_planes))
    whole = Box(0, 0, layer.width, layer.height)
    black = np.zeros((*size, 3), np.float32)
    paste_rgb(Frame(0, 0, layer.time_base, planes), layer, whole, black, np.ones(size, np.float32))
    return planes
