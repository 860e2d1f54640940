import io
from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_clip
from vidfill.errors import InputError
from vidfill.track import result
from vidfill.track.store import MaskFile, finish, open_stored
from vidfill.video.index import SourceIndex
from vidfill.video.read import probe


def test_round_trip_in_any_order() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((6, 13, 29)) > 0.7
    masks[2] = False
    file = io.BytesIO()
    stored = MaskFile(file, (13, 29), 6)
    for index in (5, 0, 3, 2):
        stored.put(index, ~masks[index])
        stored.put(index, masks[index])
    for index in (0, 2, 3, 5):
        assert np.array_equal(stored.get(index), masks[index])
    assert not stored.get(1).any()
    finish(stored, file, {"what": "a test"})
    again, header = open_stored(Path("x"), file)
    assert header["what"] == "a test"
    assert np.array_equal(again.get(5), masks[5])
    assert again.size == (13, 29)
    assert len(again.offsets) == 6


def test_damaged_mask() -> None:
    file = io.BytesIO()
    stored = MaskFile(file, (4, 4), 1)
    stored.put(0, np.eye(4, dtype=np.bool_))
    file.seek(24)
    file.write(b"xxxx")
    with pytest.raises(InputError, match="frame #0 is damaged"):
        stored.get(0)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_truncated_file(cut: int) -> None:
    file = io.BytesIO()
    finish(MaskFile(file, (4, 4), 3), file, {})
    with pytest.raises(InputError, match="not a finished track"):
        open_stored(Path("x"), io.BytesIO(file.getvalue()[:-cut]))


def test_full_disk_leaves_no_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SourceIndex(probe(write_clip(tmp_path / "in.mp4", n=1).path), [0])

    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result, "finish", full)
    found = [(0, {1: None})]
    with pytest.raises(OSError, match="No space"):
        result.write_track(
            tmp_path / "out.track", index, found, size=(4, 4), objects=(1,), prompted={}, tracker="flow", key=""
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
