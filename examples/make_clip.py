"""Make the example clip: a street filmed by a panning, zooming, slightly rolling camera, and a person who walks by.

    python examples/make_clip.py [FOLDER]

Writes, into examples/clip unless told otherwise:
    scene.mp4   what the camera saw, with stereo sound
    truth.mp4   the same without the person: what a perfect removal would give
    masks/      one PNG a frame, white where the person and the shadow are

The camera turns about its own centre, so that no part of the street moves against another (a homography holds).
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scene import Image, draw_walker, paint_street

N_FRAMES, RATE, SIZE_WH = 48, 25, (480, 270)
SAMPLE_RATE = 44100


def camera(t: float) -> NDArray[np.float64]:
    """The 2x3 map from the street to a (540, 960) picture at time t in [0, 1]: pan, zoom, roll."""
    ease = t * t * (3 - 2 * t)
    centre = (590 + 470 * ease, 395 + 14 * np.sin(2 * np.pi * t))
    view = cv2.getRotationMatrix2D(centre, 1.6 * np.sin(2 * np.pi * t + 0.4), 1.0 + 0.14 * ease)
    view[:, 2] += np.array(SIZE_WH) - centre
    return np.asarray(view)


def shoot(street: Image, t: float) -> Image:
    """The street (or a mask of it) as the camera sees it at time t, (270, 480, ...)."""
    twice = (2 * SIZE_WH[0], 2 * SIZE_WH[1])
    seen = cv2.warpAffine(street, camera(t), twice, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(seen, SIZE_WH, interpolation=cv2.INTER_AREA), np.float32)


def footsteps() -> NDArray[np.float32]:
    """Stereo sound, (2, samples): wind, two soft notes, and steps that go from the left ear to the right."""
    n = SAMPLE_RATE * N_FRAMES // RATE
    rng = np.random.default_rng(5)
    time = np.arange(n) / SAMPLE_RATE
    wind = np.convolve(rng.standard_normal(n), np.ones(64) / 64, "same") * (0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * time))
    notes = np.stack([np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 329.6)]) * 0.05
    sound = 0.12 * wind + notes
    for step in np.arange(0.1, time[-1], 0.32):
        since = np.clip(time - step, 0, None)
        tap = np.where(time >= step, np.exp(-since * 45) * np.sin(2 * np.pi * 130 * since), 0)
        right = step / time[-1]
        sound += 0.5 * tap * np.array([[1 - right], [right]])
    return np.clip(sound, -1, 1).astype(np.float32)


def write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Encode RGB frames as H.264 (BT.709, limited range), the sound as AAC.

    One thread and no macroblock tree, since x264 gives other bytes on every run with threads or with the tree.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        video = file.add_stream(
            "libx264", rate=RATE, options={"crf": "19", "preset": "slow", "threads": "1", "x264-params": "mbtree=0"}
        )
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        audio = file.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 96_000
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", src_colorspace="itu709", dst_colorspace="itu709", dst_color_range=1
            )
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            file.mux(video.encode(frame))
        sound = footsteps()
        for start in range(0, sound.shape[1], 1024):
            samples = av.AudioFrame.from_ndarray(sound[:, start : start + 1024], format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            file.mux(audio.encode(samples))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def make(folder: Path) -> None:
    """Make the clip, its truth and its masks in a folder."""
    street = paint_street(np.random.default_rng(2026))
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    scene, truth = [], []
    for index in range(N_FRAMES):
        t = index / (N_FRAMES - 1)
        with_walker, cover = draw_walker(street, 1010 - 330 * t, 2 * np.pi * 2.1 * t)
        scene.append(_bytes(shoot(with_walker, t)))
        truth.append(_bytes(shoot(street, t)))
        mask = cv2.dilate((shoot(cover, t) > 0.02).astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{index:05}.png"), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
    write(folder / "scene.mp4", scene)
    write(folder / "truth.mp4", truth)


def _bytes(rgb: Image) -> NDArray[np.uint8]:
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "clip")
