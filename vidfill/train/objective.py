"""What an update minimises: loss terms by name, on the consecutive outputs of one chunk of a clip.

`TERMS` are those that any network can use; a model's own come from its package (`vidfill.train.find_training`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.evaluate.features import FeatureNetwork, load_features
from vidfill.models.base import Step, composite
from vidfill.train import losses
from vidfill.train.batch import Batch, BatchMotion, Pair
from vidfill.train.critics import ClipDiscriminator, PictureCritics
from vidfill.train.recipe import Recipe

# Fills are clamped to this range before networks look at them: far outside of it their features mean nothing.
_MIN_LEVEL, _MAX_LEVEL = -0.2, 1.2
_CLIP_CRITIC_TERMS = frozenset({"adversarial"})
_PICTURE_CRITIC_TERMS = frozenset({"patches", "matching", "projected"})
_FEATURE_TERMS = frozenset({"feature", "projected"})
# Terms that discriminators judge: their weights rise at the start of a run, and they do not tell how well it goes.
CRITIC_TERMS = _CLIP_CRITIC_TERMS | _PICTURE_CRITIC_TERMS


class Critics(nn.Module):
    """The discriminators that a recipe needs, None for the others."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        needs_clips, needs_pictures = recipe.terms & _CLIP_CRITIC_TERMS, recipe.terms & _PICTURE_CRITIC_TERMS
        self.clips = ClipDiscriminator(recipe.critic_width) if needs_clips else None
        self.pictures = PictureCritics(recipe.critic_width) if needs_pictures else None

    @property
    def of_clips(self) -> ClipDiscriminator:
        """The discriminator of clips, which a term of the recipe needs."""
        assert self.clips is not None
        return self.clips

    @property
    def of_pictures(self) -> PictureCritics:
        """The discriminators of pictures, likewise."""
        assert self.pictures is not None
        return self.pictures


class Judges(NamedTuple):
    """The networks that look at outputs."""

    critics: Critics  # trained beside the model
    features: FeatureNetwork | None  # frozen; None if no term needs them
    autocast: Callable[[], AbstractContextManager[object]]  # makes the context in which they run

    def features_of(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps of pictures (B, 3, H, W), fine to coarse."""
        assert self.features is not None, "no term of the recipe needs features"
        with self.autocast():
            found: list[Tensor] = self.features(pictures)
        return found


def make_judges(
    recipe: Recipe, critics: Critics, device: torch.device, autocast: Callable[[], AbstractContextManager[object]]
) -> Judges:
    """The networks that the stages of a recipe need.

    Raises:
        UsageError: the package with the weights of the features is not installed.
    """
    return Judges(critics, load_features().to(device) if recipe.terms & _FEATURE_TERMS else None, autocast)


class Chunk:
    """The consecutive outputs of one update, and what they are compared with; what is computed from them, once.

    Args:
        outputs: (position, step) of each target.
        batch: the clips they belong to.
        motion: of the batch.
        judges: the networks that look at them.

    Attributes:
        positions: of the targets.
        truth: (B, T, 3, H, W), of the targets alone.
        holes: (B, T, 1, H, W), 1 = filled.
        fills: (B, T, 3, H, W) float32, as the model gave them.
    """

    def __init__(self, outputs: Sequence[tuple[int, Step]], batch: Batch, motion: BatchMotion, judges: Judges) -> None:
        self.outputs, self.batch, self.motion, self.judges = outputs, batch, motion, judges
        self.positions = range(outputs[0][0], outputs[-1][0] + 1)
        here = slice(self.positions.start, self.positions.stop)
        self.truth, self.holes = batch.clip[:, here], batch.holes[:, here]
        self.fills = torch.stack([step.fill for _, step in outputs], dim=1).float()

    @cached_property
    def pictures(self) -> tuple[Tensor, Tensor, Tensor]:
        """Fills, truth and holes as single pictures, (B * T, C, H, W) each."""
        return self.fills.flatten(0, 1), self.truth.flatten(0, 1), self.holes.flatten(0, 1)

    @cached_property
    def filled(self) -> Tensor:
        """(B * T, 3, H, W), the pictures with their holes filled, nearly clamped to [0, 1]."""
        fills, truth, holes = self.pictures
        return composite(truth, holes, fills.clamp(_MIN_LEVEL, _MAX_LEVEL))

    @cached_property
    def true_features(self) -> list[Tensor]:
        """Of the true pictures."""
        with torch.no_grad():
            return self.judges.features_of(self.pictures[1])

    @cached_property
    def filled_features(self) -> list[Tensor]:
        """Of the filled pictures."""
        return self.judges.features_of(self.filled)

    @cached_property
    def patch_scores(self) -> tuple[Tensor, list[Tensor]]:
        """What the discriminator of patches makes of the filled pictures: scores, and the features of its layers."""
        with self.judges.autocast():
            found: tuple[Tensor, list[Tensor]] = self.judges.critics.of_pictures.patches(self.filled)
        return found

    @cached_property
    def filled_clip(self) -> Tensor:
        """(B, T, 3, H, W), the clip with its holes filled."""
        return composite(self.truth, self.holes, self.fills)

    def nothing(self) -> Tensor:
        """A loss of 0 that has a gradient, for a term without anything to learn from."""
        return 0 * self.fills.sum()


# A term is a scalar that is not yet weighted; None where a chunk has too few outputs for it.
Term = Callable[[Chunk], Tensor | None]


def _warp_term(chunk: Chunk, pairs: Sequence[Pair]) -> Tensor | None:
    if not pairs:
        return None
    chunk.motion.measure(pairs)
    first, fills, clip = chunk.positions[0], chunk.fills, chunk.batch.clip
    errors = [
        losses.warp_l1(
            fills[:, at - first], fills[:, to - first], clip[:, at], clip[:, to], chunk.motion.between(at, to)[0]
        )
        for at, to in pairs
    ]
    return torch.stack(errors).mean()


def _matching(chunk: Chunk) -> Tensor:
    _, truth, holes = chunk.pictures
    _, filled = chunk.patch_scores
    with torch.no_grad(), chunk.judges.autocast():
        _, true = chunk.judges.critics.of_pictures.patches(truth)
    return losses.feature_matching(filled, true, holes)


def _projected(chunk: Chunk) -> Tensor:
    with chunk.judges.autocast():
        maps = chunk.judges.critics.of_pictures.projected(chunk.filled_features)
    return torch.stack([losses.hinge_generator(scores, chunk.pictures[2]) for scores in maps]).mean()


def _adversarial(chunk: Chunk) -> Tensor:
    with chunk.judges.autocast():
        scores: Tensor = chunk.judges.critics.of_clips(chunk.filled_clip, chunk.holes)
    return -scores.mean()


TERMS: Mapping[str, Term] = {
    "frame": lambda chunk: losses.frame_l1(*chunk.pictures[:2]),  # L1 over the whole frame
    "ssim": lambda chunk: losses.ssim_loss(*chunk.pictures[:2]),  # 1 - SSIM over the whole frame
    "hole": lambda chunk: losses.hole_l1(*chunk.pictures),
    "rim": lambda chunk: losses.rim_l1(*chunk.pictures),  # L1 inside the hole, with less weight deeper inside
    "known": lambda chunk: losses.known_l1(*chunk.pictures),  # L1 outside the hole
    # An output against the one before it, and against the chunk's first, warped by the true or the measured flow.
    "short": lambda chunk: _warp_term(chunk, [(t, t - 1) for t in chunk.positions[1:]]),
    "long": lambda chunk: _warp_term(chunk, [(t, chunk.positions[0]) for t in chunk.positions[2:]]),
    # Distance of features of EfficientNet-Lite0 in and near the hole.
    "feature": lambda chunk: losses.feature_distance(chunk.filled_features, chunk.true_features, chunk.pictures[2]),
    # Hinge loss of the discriminator of patches of single pictures, and L1 of its features.
    "patches": lambda chunk: losses.hinge_generator(chunk.patch_scores[0], chunk.pictures[2]),
    "matching": _matching,
    "projected": _projected,  # hinge loss of the discriminators of single pictures on frozen features
    "adversarial": _adversarial,  # hinge loss of the discriminator of clips
}


def loss_terms(chunk: Chunk, weights: Mapping[str, float], own: Mapping[str, Term]) -> dict[str, Tensor]:
    """The terms of the loss, each a scalar, not yet weighted; those of weight 0 are left out. `own` are the model's."""
    known = {**TERMS, **own}
    found = {name: known[name](chunk) for name, weight in weights.items() if weight}
    return {name: term for name, term in found.items() if term is not None}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of terms, each times its weight."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def critic_losses(chunk: Chunk, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """What the discriminators that take part minimise on the same outputs, which are taken as given."""
    _, truth, holes = chunk.pictures
    wanted = {name for name, weight in weights.items() if weight}
    found: dict[str, Tensor] = {}
    with chunk.judges.autocast():
        if wanted & _CLIP_CRITIC_TERMS:
            critic = chunk.judges.critics.of_clips
            real, fake = critic(chunk.truth, chunk.holes), critic(chunk.filled_clip.detach(), chunk.holes)
            found["clip_critic"] = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        if wanted & {"patches", "matching"}:
            scores, _ = chunk.judges.critics.of_pictures.patches(torch.cat((truth, chunk.filled.detach())))
            real, filled = scores.chunk(2)
            found["patch_critic"] = losses.hinge_discriminator(real, filled, holes)
        if "projected" in wanted:
            pairs = zip(chunk.true_features, chunk.filled_features, strict=True)
            maps = chunk.judges.critics.of_pictures.projected([torch.cat((a, b.detach())) for a, b in pairs])
            halves = [scores.chunk(2) for scores in maps]
            found["projected_critic"] = torch.stack(
                [losses.hinge_discriminator(real, filled, holes) for real, filled in halves]
            ).mean()
    return found
