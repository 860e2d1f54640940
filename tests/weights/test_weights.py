"""Weight files: manifests, hashes, atomic writes, and every way in which a file can be bad."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vidfill.errors import WeightsError
from vidfill.weights import (
    Card,
    Checkpoint,
    default_model_dir,
    file_sha256,
    install_weights,
    list_weights,
    load_weights,
    manifest,
    read_manifest,
    read_torch_checkpoint,
    save_weights,
    shipped_dir,
    verify_weights,
    write_manifest,
)

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(2)}
CARD = Card("net", sizes={"width": 3}, recipe="by hand", data="none", licence="CC0-1.0")


@pytest.fixture
def no_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "shipped_dir", lambda: tmp_path / "none")


def test_shipped_manifest_is_valid_and_its_files_are_there() -> None:
    cards = read_manifest(shipped_dir())
    assert "propagate" in {card.name for card in cards}
    assert all(card.recipe and card.data and card.licence for card in cards)
    assert all(card.research_only == ("research" in card.licence) for card in cards)
    assert [verdict.problem for verdict in verify_weights() if verdict.installed.origin == "shipped"] == [""] * len(
        cards
    )


def test_an_installed_wheel_has_its_weights_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "vidfill"
    package.mkdir(parents=True)
    monkeypatch.setattr(manifest, "__file__", str(package / "weights" / "manifest.py"))
    assert shipped_dir() == tmp_path / "site-packages" / "weights"  # a source checkout
    (package / "_weights").mkdir()
    assert shipped_dir() == package / "_weights"


def test_default_folder_ends_in_the_programs_name() -> None:
    assert default_model_dir().parts[-2:] == ("vidfill", "models")


def test_manifest_round_trip(tmp_path: Path) -> None:
    scores = {"object": {"hole_psnr_db": 17.5}}
    card = replace(CARD, file="net.safetensors", sha256="a" * 64, n_bytes=12, scores=scores)
    card = replace(card, research_only=True)
    write_manifest(tmp_path, (card, CARD))
    assert read_manifest(tmp_path) == (card, CARD)
    entry = json.loads((tmp_path / "manifest.json").read_text())["models"][1]
    assert (entry["file"], entry["sha256"], entry["bytes"]) == (None, None, 0)


def test_no_manifest_is_no_cards(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2, "models": []}',
        '{"format": 1}',
        '{"format": 1, "models": [{"name": "x"}]}',
        '{"format": 1, "models": ["x"]}',
    ],
)
def test_bad_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match="cannot be used"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change", [{"file": "../x"}, {"file": "/etc/passwd"}, {"sha256": "abc"}, {"scores": 3}, {"research_only": "no"}]
)
def test_bad_card_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_manifest(tmp_path, (replace(CARD, file="net.safetensors", sha256="a" * 64),))
    content = json.loads((tmp_path / "manifest.json").read_text())
    content["models"][0].update(change)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="cannot be used"):
        read_manifest(tmp_path)


def test_score_is_the_mean_over_the_protocols() -> None:
    scores = {"stationary": {"hole_psnr_db": 16.0, "ssim": 0.9}, "object": {"hole_psnr_db": 20.0}}
    assert replace(CARD, scores=scores).hole_psnr_db == 18.0
    assert CARD.hole_psnr_db == float("-inf")


def test_visible_error_grows_with_flicker() -> None:
    stationary, moving = {"feature_distance": 1.0, "flicker": 4.0}, {"feature_distance": 0.5, "flicker": 0.2}
    card = replace(CARD, scores={"stationary": stationary, "object": moving})
    assert card.visible_error == pytest.approx((1.0 * 2 + 0.5) / 2)
    assert replace(CARD, scores={"object": {"feature_distance": 1.0}}).visible_error == float("inf")


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    transposed = TENSORS["a.weight"].t()
    save_weights(path, Checkpoint("net", {"width": [3, 4]}, {**TENSORS, "t": transposed}))
    found = load_weights(path, sha256=file_sha256(path))
    assert (found.model, found.sizes) == ("net", {"width": [3, 4]})
    assert torch.equal(found.tensors["t"], transposed)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.usefixtures("no_shipped")
def test_install_replaces_the_same_model_only(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    install_weights(replace(CARD, name="other"), TENSORS, model_dir=folder)
    install_weights(CARD, TENSORS, model_dir=folder)
    installed = install_weights(replace(CARD, recipe="again"), TENSORS, model_dir=folder)
    listed = list_weights(model_dir=folder)
    assert [item.card.name for item in listed] == ["other", "net"]
    assert listed[1] == installed
    assert installed.is_usable
    assert installed.card.n_bytes == (folder / "net.safetensors").stat().st_size
    assert [verdict.problem for verdict in verify_weights(model_dir=folder)] == ["", ""]


@pytest.mark.usefixtures("no_shipped")
def test_verify_tells_faults_apart(tmp_path: Path) -> None:
    for name in ("whole", "missing", "short", "changed"):
        install_weights(replace(CARD, name=name), TENSORS, model_dir=tmp_path)
    (tmp_path / "missing.safetensors").unlink()
    short, changed = tmp_path / "short.safetensors", tmp_path / "changed.safetensors"
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")
    problems = {v.installed.card.name: v.problem for v in verify_weights(model_dir=tmp_path)}
    assert problems["whole"] == ""
    assert "is missing" in problems["missing"]
    assert "bytes; expected" in problems["short"]
    assert "sha256" in problems["changed"]


def test_missing_weight_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weight file at"):
        load_weights(tmp_path / "x.safetensors")


def test_wrong_hash(tmp_path: Path) -> None:
    save_weights(tmp_path / "x.safetensors", Checkpoint("net", {}, TENSORS))
    with pytest.raises(WeightsError, match="expected " + "0" * 64):
        load_weights(tmp_path / "x.safetensors", sha256="0" * 64)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_weight_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.safetensors"
    save_weights(path, Checkpoint("net", {}, TENSORS))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_weights(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {"vidfill_model": "net"}, {"vidfill_model": "net", "vidfill_sizes": "{"}, {"vidfill_sizes": "{}"}],
)
def test_weight_file_that_is_not_ours(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match="does not say which vidfill model"):
        load_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_torch_checkpoints_of_all_kinds(tmp_path: Path, new_format: bool, wrapped: bool) -> None:
    named = {f"module.{name}": tensor for name, tensor in TENSORS.items()}
    content = {"state_dict": named, "epoch": 3, "arch": "net"} if wrapped else named
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    found = read_torch_checkpoint(tmp_path / "x.pth")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(1), {"state_dict": {"a": 1}}, {1: torch.ones(1)}]
)
def test_torch_file_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_torch_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_truncated_torch_checkpoint(tmp_path: Path, new_format: bool, part: float) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.rand(100)}, path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(WeightsError, match=r"x\.pth"):
        read_torch_checkpoint(path)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(64)])
def test_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no checkpoint at"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot write .*Not a directory"):
        install_weights(CARD, TENSORS, model_dir=tmp_path / "file" / "models")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_weights(CARD, TENSORS, model_dir=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        install_weights(CARD, {"a.weight": torch.zeros(9)}, model_dir=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
