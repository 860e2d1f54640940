"""The discriminators of pictures: spectral norms, what they see, what is trained, their file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vidfill.errors import WeightsError
from vidfill.evaluate.features import CHANNELS
from vidfill.train.critics import ClipDiscriminator, PictureCritics, ProjectedDiscriminator, SpectralNorm
from vidfill.weights import Checkpoint, save_weights


def test_a_kernel_is_divided_by_its_largest_singular_value() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(6, 4, 3, 3)
    norm = SpectralNorm(kernel)
    for _ in range(200):
        made = norm(kernel)
    exact = torch.linalg.svdvals(kernel.flatten(1))[0]
    assert torch.allclose(made, kernel / exact, rtol=1e-3)
    norm.eval()
    assert torch.equal(norm(kernel), norm(kernel)), "no iteration in evaluation mode"


def test_spectral_norm_stays_in_float32_and_keeps_its_gradient() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(6, 4, 3, 3, requires_grad=True)
    norm = SpectralNorm(kernel)
    with torch.autocast("cpu", torch.bfloat16):
        first = norm(kernel)
        norm(kernel)
    assert first.dtype == torch.float32
    first.square().sum().backward()
    assert kernel.grad is not None
    assert kernel.grad.isfinite().all()


def test_patches_are_scored_every_16_px_and_have_110_px() -> None:
    torch.manual_seed(0)
    patches = PictureCritics(4).patches.eval()
    picture = torch.rand(1, 3, 320, 320, requires_grad=True)
    scores, features = patches(picture)
    assert scores.shape == (1, 1, 20, 20)
    assert [f.shape[1] for f in features] == [4, 8, 16, 32, 32]
    scores[0, 0, 10, 10].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum(dim=1)[0].nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [110, 110]


def test_clips_are_scored_in_patches_and_in_time() -> None:
    torch.manual_seed(0)
    critic = ClipDiscriminator(4).eval()
    clip, holes = torch.rand(1, 3, 3, 32, 48), torch.zeros(1, 3, 1, 32, 48)
    scores = critic(clip, holes)
    assert scores.shape == (1, 1, 3, 2, 3)
    other = clip.clone()
    other[:, 2] = 0
    assert not torch.equal(critic(other, holes)[:, :, 0], scores[:, :, 0])
    assert not torch.equal(critic(clip, holes + 1), scores)


def test_projected_heads_learn_and_their_mixing_does_not() -> None:
    torch.manual_seed(0)
    critic = ProjectedDiscriminator(CHANNELS, (4, 4, 6, 6, 6), (4, 4, 4, 4, 4))
    features = [torch.randn(2, n, max(1, 33 >> i), max(1, 47 >> i)) for i, n in enumerate(CHANNELS)]
    scores = critic(features)
    assert [tuple(s.shape[-2:]) for s in scores] == [(2, 2), (4, 5), (8, 11), (8, 12), (17, 24)]
    torch.stack([s.sum() for s in scores]).sum().backward()  # type: ignore[no-untyped-call]
    learns = {name.split(".")[0] for name, p in critic.named_parameters() if p.grad is not None}
    assert learns == {"heads"}
    coarse = [f + 1.0 * (i == 4) for i, f in enumerate(features)]
    assert all(not torch.equal(a, b) for a, b in zip(critic(coarse), scores, strict=True)), "coarse reaches fine"


def test_their_file_brings_them_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    critics, other = PictureCritics(4), PictureCritics(4)
    critics.save(tmp_path / "critics.safetensors")
    other.begin_with(tmp_path / "critics.safetensors")
    picture = torch.rand(1, 3, 64, 64)
    assert torch.allclose(other.eval().patches(picture)[0], critics.eval().patches(picture)[0], atol=1e-2)
    wider = PictureCritics(8)
    with pytest.raises(WeightsError, match="of another shape"):
        wider.begin_with(tmp_path / "critics.safetensors")
    save_weights(tmp_path / "model.safetensors", Checkpoint("vinet", {}, {"a": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="holds weights for vinet; expected picture critics"):
        other.begin_with(tmp_path / "model.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="does not say"):
        other.begin_with(tmp_path / "foreign.safetensors")
