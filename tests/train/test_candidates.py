"""Candidates computed for training: what a stretch holds, how steps cut it, and a run from files."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.align.scenes import painted, seen_through, shift
from tests.train.models import tiny_data
from tests.train.test_data import write_archive
from vidfill.errors import InputError
from vidfill.models.base import recur
from vidfill.models.fuse import Fuse
from vidfill.models.fuse_candidates import NOTHING
from vidfill.train.candidate_feed import RING, CandidateFeed
from vidfill.train.candidates import Stretch, draw_stretch, frame_type, keep_computing, stretches_of, write_stretch
from vidfill.train.command import run_training
from vidfill.train.parallel import Place
from vidfill.train.recipes import CandidateBudget, Stage, find_recipe
from vidfill.train.trainer import Trainer
from vidfill.weights import load_weights

SIDE = 96
BUDGET = CandidateBudget(n_kept=2, n_first=1, n_frames=8, crop_px=80, n_candidates=3, n_workers=0)
SHAPES = torch.ones(1, 16, 16, dtype=torch.uint8)
TINY = find_recipe("tiny", model="fuse")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pan of 3 px a frame over a painted scene, short side 96."""
    path = tmp_path_factory.mktemp("video") / "pan.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, SIDE))
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 100)
    scene = painted(SIDE + 20, 240)
    for i in range(20):
        writer.write(seen_through(scene, shift(10 + 3 * i, 10), (128, SIDE)))
    writer.release()
    return path


@pytest.fixture(scope="module")
def stretch(video: Path) -> Stretch:
    found = next(
        s
        for seed in range(9)
        if (s := draw_stretch(np.random.default_rng(seed), video, SHAPES, BUDGET, SIDE)) is not None
    )
    assert found.dtype == frame_type(80, 5) and len(found) == 8
    return found


def test_a_stretch_holds_the_truth_around_the_hole_and_pixels_of_other_frames_in_it(stretch: Stretch) -> None:
    known = stretch["hole"] == 0
    assert known.any() and not known.all()
    assert (stretch["composite"][known] == stretch["truth"][known]).all()
    middle = stretch[4]
    hole = middle["hole"] > 0
    shown = (middle["error"] < NOTHING) & hole
    first = middle["rgb"][0][shown[0]].astype(int) - middle["truth"][shown[0]]
    assert shown[0].any() and np.abs(first).mean() < 6, "the scene is still: what is brought is right"
    assert (middle["facts"][:, 3:].sum(axis=1) <= 1).all()


def test_the_motion_leads_from_the_crop_before_to_this_one(stretch: Stretch) -> None:
    for before, now in zip(stretch[:-1], stretch[1:], strict=True):
        moved = cv2.warpPerspective(before["truth"], now["motion"], (80, 80))
        inside = np.s_[20:60, 20:60]
        assert np.abs(moved[inside].astype(int) - now["truth"][inside]).mean() < 5, "noise of the video"
    assert not stretch[0]["motion"].any(), "nothing comes before the first frame"


def test_steps_are_cut_alike_whenever_they_are_drawn_and_mirrored_as_a_whole(stretch: Stretch, tmp_path: Path) -> None:
    write_stretch(stretch, tmp_path / "000000.npy")
    torch.manual_seed(0)
    decider = Fuse.from_sizes(TINY.sizes["fuse"]).decider
    feed = CandidateFeed(decider, tmp_path, tiny_data(), seed=1)
    stage = Stage("unroll", share=1, batch=2, crop_px=64, n_targets=2, n_chunks=2, synthetic_share=0)
    for step in range(6):  # some of them mirrored
        drawn, again = (feed.draw(stage, step=step, place=Place()) for _ in range(2))
        assert torch.equal(drawn.batch.clip, again.batch.clip) and drawn.batch.clip.shape == (2, 4, 3, 64, 64)
        view, before = drawn.source.view(2), drawn.source.view(1)
        assert torch.equal(view.features.composite * (1 - view.hole), view.frame)
        shares = [feed.draw(stage, step=step, place=Place(rank, 2)).batch.clip for rank in range(2)]
        assert torch.equal(torch.cat(shares), drawn.batch.clip), "processes share the batch"
        for b in range(2):
            truth = [drawn.batch.clip[b, t].permute(1, 2, 0).numpy() for t in (1, 2)]
            moved = cv2.warpPerspective(truth[0], view.features.motion[b].double().numpy(), (64, 64))
            assert np.abs(moved - truth[1])[20:44, 20:44].mean() < 0.02
        assert before.features.rgb.shape == (2, 5, 3, 64, 64)
    with torch.no_grad():
        fills = [step.fill for _, step in recur(drawn.model, drawn.source, targets=drawn.batch.targets)]
    assert len(fills) == 4 and bool(torch.isfinite(torch.stack(fills)).all())


def test_steps_of_photos_hold_unrelated_pictures_with_two_spatial_fills() -> None:
    data = tiny_data()
    feed = CandidateFeed(Fuse.from_sizes(TINY.sizes["fuse"]).decider, Path("nowhere"), data, seed=1)
    stage = Stage("unroll", share=1, batch=2, crop_px=32, n_targets=2, n_chunks=2, synthetic_share=1)
    drawn = feed.draw(stage, step=0, place=Place())
    for view in (drawn.source.view(t) for t in range(4)):
        given = view.features
        assert given.rgb.shape == (2, 2, 3, 32, 32) and not given.motion.any()
        mean = torch.where(given.error < NOTHING, given.rgb, given.composite.unsqueeze(1)).mean(dim=1)
        assert float((mean - given.composite).abs().max()) < 1.5 / 255
        assert torch.equal(given.composite * (1 - view.hole), view.frame)


def test_a_worker_replaces_the_oldest_of_its_own_and_goes_on_where_it_was(video: Path, tmp_path: Path) -> None:
    def compute(n: int, worker: int) -> None:
        wanted = len(stretches_of(tmp_path)) + n
        keep_computing(
            [video], SHAPES, tmp_path, replace(BUDGET, n_kept=4, n_workers=2), SIDE,
            seed=0, worker=worker, should_stop=lambda: len(stretches_of(tmp_path)) >= wanted,
        )  # fmt: skip

    compute(1, worker=1)
    assert [p.name for p in stretches_of(tmp_path)] == ["000001.npy"]
    compute(1, worker=1)
    assert [p.name for p in stretches_of(tmp_path)] == ["000001.npy", "000003.npy"]
    assert not list(tmp_path.glob(".*"))


def test_four_steps_are_two_then_save_resume_and_two_bit_for_bit(stretch: Stretch, tmp_path: Path) -> None:
    write_stretch(stretch, tmp_path / "000000.npy")
    recipe = replace(TINY, n_steps=4, save_every=1, n_validation=0, candidates=replace(BUDGET, n_kept=1))

    def train(run: Path, n_steps: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = Fuse.from_sizes(TINY.sizes["fuse"])
        feed = CandidateFeed(model.decider, tmp_path, tiny_data(), seed=0)
        trainer = Trainer(model, "fuse", tiny_data(), recipe, run, resume=True, feed=feed)
        trainer.run(should_stop=lambda: trainer.state.step >= n_steps)
        return load_weights(run / "fuse.safetensors", sha256="").tensors

    whole = train(tmp_path / "whole", 4)
    before = train(tmp_path / "parts", 2)
    after = train(tmp_path / "parts", 4)
    assert all(torch.equal(whole[name], after[name]) for name in whole)
    assert not all(torch.equal(before[name], after[name]) for name in whole)


def test_a_run_computes_its_candidates_itself(video: Path, tmp_path: Path) -> None:
    recipe = replace(TINY, n_steps=1, n_validation=0)
    outcome = run_training("fuse", [video], tmp_path / "run", recipe, device="cpu")
    assert outcome.finished
    assert stretches_of(tmp_path / "run" / RING)


def test_fuse_needs_videos(tmp_path: Path) -> None:
    write_archive(tmp_path / "photos.tar", {"0.jpg": np.zeros((48, 64, 3), np.uint8)})
    with pytest.raises(InputError, match="no videos"):
        run_training("fuse", [tmp_path / "photos.tar"], tmp_path / "run", TINY, device="cpu")
