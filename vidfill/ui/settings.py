"""What `vidfill ui` is told on the command line, and the command that does the same without the page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from vidfill.masks.prompt import Prompting, Prompts
from vidfill.progress import OnProgress
from vidfill.removal.request import FillArguments, Request
from vidfill.settings import EngineSettings, PlanSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for as long as the page is there.

    Attributes:
        source: a video, or a folder of images.
        output: as `vidfill.remove` takes it.
        prompts: the file that the prompts are kept in; read at the start if it exists.
        fps: frame rate of a folder of images.
        tracker: one of `vidfill.track.tools.TRACKER_NAMES`.
        whole: what a click may mean, see `vidfill.track.tools.open_tools`.
        grow: how far tracked masks are grown, in source pixels, see `vidfill.masks.prompt.Prompting`.
        shadow: whether shadows go with the objects, unless the page says otherwise.
        model: a name of `vidfill.models.MODEL_NAMES`, or "auto".
        model_dir: the user's folder of weights; None for the default one.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        overwrite: replace an existing output.
    """

    source: Path
    output: Path | str
    prompts: Path
    fps: Fraction | None = None
    tracker: Literal["auto", "sam", "flow", "sam2"] = "auto"
    whole: bool | None = None
    grow: int | None = None
    shadow: bool = False
    model: str = "auto"
    model_dir: Path | None = None
    device: str = "auto"
    overwrite: bool = False

    @property
    def engine(self) -> EngineSettings:
        """How the model is run."""
        return EngineSettings(device=self.device)

    def prompting(self, prompts: Prompts, *, shadow: bool, allow_lost: bool) -> Prompting:
        """Prompts with how they are followed."""
        return Prompting(
            prompts, tracker=self.tracker, whole=self.whole, allow_lost=allow_lost, grow_px=self.grow, shadow=shadow
        )

    def request(self, prompting: Prompting, progress: OnProgress | None = None) -> Request:
        """The removal of what is meant; its track is that of `vidfill.remove` with the same prompts."""
        settings = FillArguments(
            fps=self.fps, prompts=prompting, device=self.device, model_dir=self.model_dir, progress=progress
        )
        return Request(self.source, None, settings, PlanSettings())

    def command(self) -> str:
        """The line for a shell that removes what the file of prompts says; what the page can choose is left out."""
        words: list[object] = ["vidfill", "remove", self.source, "--prompts", self.prompts, "-o", self.output]
        options: dict[str, object] = {"--fps": self.fps, "--model-dir": self.model_dir, "--grow": self.grow}
        options |= {"--tracker": self.tracker, "--model": self.model, "--device": self.device}
        for name, value in options.items():
            words += [] if value in (None, "auto") else [name, value]
        if self.whole is not None:
            words.append("--whole" if self.whole else "--part")
        return shlex.join(str(word) for word in words)
