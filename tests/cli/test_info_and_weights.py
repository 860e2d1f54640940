from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.cli.conftest import Run
from tests.clips import Clip, write_clip
from vidfill.models import MODEL_NAMES


def test_info_of_the_machine(clip: Clip, run: Run) -> None:
    found = run("info", "--json").json
    assert found["devices"][0]["name"] == "cpu"
    assert {"h264", "hevc", "ffv1"} <= {encoder["codec"] for encoder in found["encoders"]}
    assert {model["name"] for model in found["models"]} == set(MODEL_NAMES)
    assert [model["default"] for model in found["models"]].count("default (auto)") == 1
    versions = {entry["name"]: entry["version"] for entry in found["versions"]}
    assert versions["torch"].startswith(torch.__version__.partition("+")[0])
    assert versions["av"] == av.__version__


def test_info_as_text_has_the_same(clip: Clip, run: Run) -> None:
    outcome = run("info")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("devices", "encoders", "models", "versions", "libx264", "propagate"))


def test_info_of_a_file_is_what_probe_says(clip: Clip, run: Run) -> None:
    found = run("info", "in.mp4", "--json").json
    about = found["file"]
    assert (about["width"], about["height"], about["n_frames"], about["codec"]) == (96, 64, 8, "h264")
    assert [stream["kind"] for stream in about["streams"]] == ["audio"]
    assert "masks" in found["facts"]


def test_info_of_a_turned_file(clip: Clip, run: Run) -> None:
    write_clip(Path("turned.mp4"), n=2, rotation=90)
    out = run("info", "turned.mp4").out
    assert "64x96 (turned by the player)" in out
    assert "96x64 h264" in out


def test_info_of_no_video(clip: Clip, run: Run) -> None:
    assert run("info", "masks/missing").code == 3


def test_weights_list_and_path(clip: Clip, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "propagate" in run("weights", "list").out
    assert run("weights", "path").out == f"{Path.cwd() / 'models'}\n"
    assert run("weights", "path", "--model-dir", "elsewhere").out == "elsewhere\n"
    monkeypatch.delenv("VIDFILL_MODEL_DIR")
    assert run("weights", "path", "--json").json["path"].endswith("models")


def test_weights_verify_finds_a_changed_file(clip: Clip, run: Run) -> None:
    from vidfill.weights import Card, install_weights

    assert run("weights", "verify").code == 0
    installed = install_weights(Card("vinet"), {"weight": torch.zeros(3)}, model_dir=Path("models"))
    assert run("weights", "verify").code == 0
    assert installed.path is not None
    data = bytearray(installed.path.read_bytes())
    data[-1] ^= 1
    installed.path.write_bytes(data)
    outcome = run("weights", "verify")
    assert outcome.code == 6
    assert "sha256" in outcome.err


def test_importing_what_is_no_checkpoint(clip: Clip, run: Run) -> None:
    Path("bad.pth").write_bytes(np.arange(99, dtype=np.uint8).tobytes())
    assert run("weights", "import", "vinet", "bad.pth").code == 6
    assert run("weights", "import", "vinet", "missing.pth").code == 6
    assert run("weights", "import", "propagate", "bad.pth").code == 2
