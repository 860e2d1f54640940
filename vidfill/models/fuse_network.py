"""The network of `fuse`: decides at each pixel which candidate to believe, and adds what none of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses
from torch import Tensor, nn

from vidfill.align.warp import warp_homography
from vidfill.models.base import Model, Previous, Step, View, WindowSpec
from vidfill.models.fuse_candidates import N_FACTS, NOTHING, CandidateSet
from vidfill.models.layers import ConvLSTM, LeakyConv, Memory
from vidfill.models.propagate import TEMPERATURE, TEMPERATURE_PER_ERROR

HALF = 2
N_CODE = 5 * HALF**2  # a candidate's colours and trust, the pixels of a 2x2 block side by side
N_TARGET = 6 * HALF**2
MULTIPLE = 16
TRUST_LEVELS = 16.0
PREVIOUS_ERROR = 8.0
COMPOSITE_BIAS = 3.0
PREVIOUS_FACT = 2
MIN_VALID = 0.99
NO_TRUST = 1e-4


class Encoded(NamedTuple):
    """A candidate's features: at 1/2 the raw code, at 1/4 and 1/8 learned ones; (B * K, C, h, w) each."""

    code: Tensor
    quarter: Tensor
    eighth: Tensor


class Attention(nn.Module):
    """At each pixel, a softmax over the candidates by how well they match the target's features (one head).

    Args:
        n_target: channels of the target's features, and of the result.
        n_candidate: channels of the candidates' features.
        n_key: channels in which they are compared.
    """

    def __init__(self, n_target: int, n_candidate: int, n_key: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(n_target, n_key, 1)
        self.key = nn.Conv2d(n_candidate, n_key, 1)
        self.join = nn.Conv2d(n_target + n_candidate, n_target, 1)

    def forward(self, target: Tensor, candidates: Tensor, trust: Tensor) -> Tensor:
        """Bring the candidates' features to the target's.

        Args:
            target: (B, n_target, h, w).
            candidates: (B * K, n_candidate, h, w).
            trust: (B, K, h, w), added to the logits; very negative where a candidate shows nothing.

        Returns:
            (B, n_target, h, w).
        """
        n_batch = len(trust)
        keys = _by_sample(self.key(candidates), n_batch)
        query = self.query(target).unsqueeze(1)
        logits = (keys * query).sum(dim=2).float() * keys.shape[2] ** -0.5 + trust
        weights = logits.softmax(dim=1).unsqueeze(2).to(candidates.dtype)
        read = (weights * _by_sample(candidates, n_batch)).sum(dim=1)
        return target + F.leaky_relu(self.join(torch.cat((target, read), dim=1)), 0.1)


class Decider(Model):
    """The learned part of `fuse`, a model in its own right whose frames come with their candidates.

    Args:
        target: channels of the target's features at 1/2, 1/4, 1/8 and 1/16 of the size.
        candidate: channels of a candidate's features at 1/4 and 1/8.
        key: channels in which target and candidates are compared.
        score: channels in which each candidate is scored at 1/2 of the size.
        feedback: whether the output before is a candidate too.
    """

    spec = WindowSpec(previous=True)

    def __init__(
        self,
        *,
        target: tuple[int, int, int, int] = (32, 64, 96, 112),
        candidate: tuple[int, int] = (32, 48),
        key: int = 24,
        score: int = 16,
        feedback: bool = True,
    ) -> None:
        super().__init__()
        self.sizes = {
            "target": list(target), "candidate": list(candidate), "key": key, "score": score, "feedback": feedback
        }  # fmt: skip
        self._feedback = feedback
        t2, t4, t8, t16 = target
        c4, c8 = candidate
        self.facts = nn.Linear(N_FACTS, c4)
        self.candidate_4 = nn.Sequential(_down(N_CODE, c4), LeakyConv(c4, c4))
        self.candidate_8 = nn.Sequential(_down(c4, c8), LeakyConv(c8, c8))
        self.target_2 = LeakyConv(N_TARGET, t2)
        self.target_4 = nn.Sequential(_down(t2, t4), LeakyConv(t4, t4))
        self.target_8 = nn.Sequential(_down(t4, t8), LeakyConv(t8, t8))
        self.target_16 = nn.Sequential(_down(t8, t16), LeakyConv(t16, t16))
        self.attention_4 = Attention(t4, c4, key)
        self.attention_8 = Attention(t8, c8, key)
        self.memory = ConvLSTM(t16)
        self.up_8 = nn.Sequential(nn.Conv2d(2 * t16, t8, 1), nn.LeakyReLU(0.1, inplace=True))
        self.decode_8 = nn.Sequential(LeakyConv(2 * t8, t8), LeakyConv(t8, t8, dilation=2))
        self.up_4 = nn.Sequential(nn.Conv2d(t8, t4, 1), nn.LeakyReLU(0.1, inplace=True))
        self.decode_4 = nn.Sequential(LeakyConv(2 * t4, t4), LeakyConv(t4, t4, dilation=2))
        self.up_2 = nn.Sequential(nn.Conv2d(t4, t2, 1), nn.LeakyReLU(0.1, inplace=True))
        self.decode_2 = LeakyConv(2 * t2, t2)
        self.score_shared = nn.Conv2d(t2, score, 3, padding=1)
        self.score_own = nn.Conv2d(N_CODE, score, 3, padding=1)
        self.score_coarse = nn.Conv2d(c4, score, 1)
        self.score = nn.Conv2d(score, HALF**2, 1)
        self.score_composite = nn.Conv2d(t2, HALF**2, 1)
        self.synthesis = nn.Conv2d(t2, 3 * HALF**2, 3, padding=1)
        for layer in (self.score, self.score_composite, self.synthesis):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def encode(self, frame: Tensor, hole: Tensor) -> None:
        """Nothing: what depends on one frame alone has been made use of by then."""

    def step(
        self,
        target: View,
        neighbours: Sequence[View],
        references: Sequence[View],
        previous: Previous | None,
        state: Memory | None,
    ) -> Step:
        """Decide for one frame; its `CandidateSet` is the view's features (see `Model.step`)."""
        before = None if previous is None else previous.frame
        fill, memory = self(target.features, before, state)
        return Step(fill, memory)

    def forward(self, given: CandidateSet, before: Tensor | None, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Fill a picture.

        Args:
            given: the candidates, on a picture of (h, w).
            before: (B, 3, H, W) in [0, 1], the whole output before this one; None for none.
            memory: of the step before, at 1/16 of the size, rounded up; None for none. Where the motion from that step
                is unknown it is of another place, and forgotten.

        Returns:
            (B, 3, h, w) in about [0, 1], the composite outside the hole; and the new memory.
        """
        height, width = given.hole.shape[-2:]
        given = _padded(_with_output_before(given, before) if self._feedback else given)
        hole, composite = given.hole, given.composite
        valid = given.error < NOTHING
        encoded = self._encode_candidates(given, valid)
        inputs = torch.cat((composite - 0.5, hole, *_consensus(given, valid)), dim=1)
        x2 = self.target_2(_laid_out(F.pixel_unshuffle(inputs, HALF)))
        x4 = self.target_4(x2)
        x4 = self.attention_4(x4, encoded.quarter, _trust(given.error, valid, 4))
        x8 = self.target_8(x4)
        x8 = self.attention_8(x8, encoded.eighth, _trust(given.error, valid, 8))
        x16 = self.target_16(x8)
        memory = self.memory(x16, None if memory is None else _of_this_place(memory, given.motion))
        y8 = self.up_8(torch.cat((x16, memory.hidden.to(x16.dtype)), dim=1))
        y8 = self.decode_8(torch.cat((_twice(y8), x8), dim=1))
        y4 = self.decode_4(torch.cat((_twice(self.up_4(y8)), x4), dim=1))
        y2 = self.decode_2(torch.cat((_twice(self.up_2(y4)), x2), dim=1))
        mixed = self._mix(given, valid, encoded, y2)
        fill = mixed + F.pixel_shuffle(self.synthesis(y2).float(), HALF)
        return torch.lerp(composite, fill, hole)[..., :height, :width], memory

    def _encode_candidates(self, given: CandidateSet, valid: Tensor) -> Encoded:
        """Each by itself with the same weights, as its difference from the composite."""
        seen = valid.float()
        difference = (given.rgb - given.composite.unsqueeze(1)) * seen
        trust = torch.exp(given.error / -TRUST_LEVELS) * seen
        code = _short(torch.cat((difference, trust, seen), dim=2).flatten(0, 1))
        code = _laid_out(F.pixel_unshuffle(code, HALF))
        facts = self.facts(given.facts.flatten(0, 1))[..., None, None]
        first, second = self.candidate_4
        quarter = second(first(code) + facts)
        return Encoded(code, quarter, self.candidate_8(quarter))

    def _mix(self, given: CandidateSet, valid: Tensor, encoded: Encoded, y2: Tensor) -> Tensor:
        """The weighted mean of the candidates and the composite, weights at full size."""
        n_batch = len(given.error)
        own = self.score_own(encoded.code) + _twice(self.score_coarse(encoded.quarter))
        shared = self.score_shared(y2).unsqueeze(1)
        hidden = F.leaky_relu(_by_sample(own, n_batch) + shared, 0.1).flatten(0, 1)
        learned = _by_sample(F.pixel_shuffle(self.score(hidden).float(), HALF), n_batch)
        expected = given.error.masked_fill(~valid, torch.inf)
        least = expected.amin(dim=1, keepdim=True).nan_to_num(posinf=0.0)
        logits = ((least - expected) / (TEMPERATURE + TEMPERATURE_PER_ERROR * least) + learned).squeeze(2)
        of_composite = F.pixel_shuffle(self.score_composite(y2).float(), HALF) + COMPOSITE_BIAS
        weights = torch.cat((logits, of_composite), dim=1).softmax(dim=1).unsqueeze(2)
        return (weights[:, :-1] * given.rgb).sum(dim=1) + weights[:, -1] * given.composite


def _with_output_before(given: CandidateSet, before: Tensor | None) -> CandidateSet:
    """One more candidate: the output before this one, brought here by the homography of the two frames.

    No gradient goes this way: through time it goes by the memory alone, which makes a step of training much faster.
    """
    known_motion = _is_known(given.motion)
    if before is None or not bool(known_motion.any()):
        return given
    safe = torch.where(known_motion[:, None, None], given.motion, torch.eye(3).to(given.motion))
    opaque = torch.cat((before.detach().float(), torch.ones_like(before[:, :1])), dim=1)
    brought = warp_homography(opaque, safe, (given.hole.shape[-2], given.hole.shape[-1]))
    shown = (brought[:, 3:] > MIN_VALID) & known_motion[:, None, None, None]
    error = torch.where(shown, PREVIOUS_ERROR, float(NOTHING))
    facts = given.facts.new_zeros(len(before), 1, N_FACTS)
    facts[:, :, PREVIOUS_FACT] = 1
    return given._replace(
        rgb=torch.cat((given.rgb, brought[:, None, :3]), dim=1),
        error=torch.cat((given.error, error.unsqueeze(1)), dim=1),
        facts=torch.cat((given.facts, facts), dim=1),
    )


def _is_known(motion: Tensor) -> Tensor:
    """(B,) bool of (B, 3, 3)."""
    return motion.abs().amax(dim=(1, 2)) > 0


def _of_this_place(memory: Memory, motion: Tensor) -> Memory:
    is_known = _is_known(motion)[:, None, None, None]
    return Memory(*(torch.where(is_known, part, torch.zeros_like(part)) for part in memory))


def _consensus(given: CandidateSet, valid: Tensor) -> tuple[Tensor, Tensor]:
    """How far the best candidate is to be trusted, and by how much the candidates disagree; (B, 1, h, w) each."""
    trust = torch.exp(given.error / -TRUST_LEVELS) * valid
    total = trust.sum(dim=1)
    mean = (trust * given.rgb).sum(dim=1) / total.clamp(min=1e-6)
    spread = (trust * (given.rgb - mean.unsqueeze(1)).abs().mean(dim=2, keepdim=True)).sum(dim=1)
    return trust.amax(dim=1), 4 * spread / total.clamp(min=1e-6)


def _trust(error: Tensor, valid: Tensor, scale: int) -> Tensor:
    """What attention starts with: (B, K, h / scale, w / scale), the logarithm of the mean trust in a square."""
    trust = torch.exp(error / -TRUST_LEVELS) * valid
    return torch.log(F.avg_pool2d(trust.squeeze(2), scale) + NO_TRUST)


def _padded(given: CandidateSet) -> CandidateSet:
    """Height and width grown to the multiple that the network wants; what is added is known and has no candidates."""
    right, below = -given.hole.shape[-1] % MULTIPLE, -given.hole.shape[-2] % MULTIPLE
    if not right and not below:
        return given
    added = (0, right, 0, below)
    return given._replace(
        composite=F.pad(given.composite, added, mode="replicate"),
        hole=F.pad(given.hole, added),
        rgb=F.pad(given.rgb, added),
        error=F.pad(given.error, added, value=float(NOTHING)),
    )


def _by_sample(x: Tensor, n_batch: int) -> Tensor:
    """(B * K, C, h, w) to (B, K, C, h, w)."""
    return x.reshape(n_batch, -1, *x.shape[1:])


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _short(x: Tensor) -> Tensor:
    """In the number type that convolutions will use, so that what comes before them moves fewer bytes."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _laid_out(x: Tensor) -> Tensor:
    """In the memory layout that convolutions are fast in."""
    return x.contiguous(memory_format=torch.channels_last)


def _down(n_in: int, n_out: int) -> nn.Sequential:
    layer = nn.Conv2d(n_in, n_out, 3, 2, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=0.1)
    return nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True))
