"""Patches come back from the work folder bit for bit; a half-written or foreign one is refused."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from vidfill.engine.plan import Plan, Segment
from vidfill.errors import BusyError, InputError, OutputError, UsageError
from vidfill.removal.work_folder import WorkFolder, fingerprint_of
from vidfill.video.frame import Box, Patch, Remembered


def _patch(index: int, *, shape: tuple[int, int] = (13, 17)) -> Patch:
    rng = np.random.default_rng(index)
    height, width = shape
    box = Box(5, 7, 5 + width, 7 + height)
    rgb = rng.integers(0, 65536, (height, width, 3), dtype=np.uint16)
    alpha = rng.choice(np.array([0, 1, 128, 255], np.uint8), shape)
    rgb[alpha == 0] = 0
    return Patch(index, -1000 + 3003 * index, box, rgb, alpha, None if index == 1 else 0.1 * index)


def _plan() -> Plan:
    segment = Segment(0, 0, 0, 3, 0, 3, 0, Box(0, 0, 32, 32), (32, 32))
    return Plan("in.mp4", 64, 64, 9, 0, ((0, 9),), (segment,), 3, 4, 4, 0)


def _begun(tmp_path: Path) -> WorkFolder:
    folder = WorkFolder(tmp_path / "work")
    folder.begin({"source": "a"}, _plan())
    return folder


def _same(a: Patch, b: Patch) -> bool:
    return (
        (a.index, a.pts, a.box, a.invented) == (b.index, b.pts, b.box, b.invented)
        and np.array_equal(a.rgb, b.rgb)
        and np.array_equal(a.alpha, b.alpha)
    )


def test_patches_come_back_bit_for_bit(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    patches = [_patch(0), _patch(1, shape=(1, 1)), _patch(5, shape=(40, 3))]
    with folder.writing(2) as stored:
        for patch in patches:
            stored.add(patch)
    assert folder.has(2)
    assert not folder.has(1)
    assert all(_same(a, b) for a, b in zip(patches, folder.read(2), strict=True))


def test_incomplete_segment_does_not_count(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.writing(0) as stored:
        stored.add(_patch(0))
        raise KeyboardInterrupt
    assert not folder.has(0)
    assert sorted(path.name for path in folder.path.iterdir()) == ["fingerprint.json", "plan.json"]


def _broken(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[: len(content) // 2]
    yield content[:-1]
    yield content[:200] + bytes([content[200] ^ 1]) + content[201:]
    yield b"something else entirely"


def test_a_damaged_segment_is_refused(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    with folder.writing(0) as stored:
        stored.add(_patch(0))
    (path,) = folder.path.glob("segment_*")
    for content in list(_broken(path.read_bytes())):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            list(folder.read(0))


def test_patches_of_another_version_are_refused(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    with folder.writing(0) as stored:
        stored.add(_patch(0))
    (path,) = folder.path.glob("segment_*")
    path.write_bytes(path.read_bytes().replace(b"vidfill patches 2", b"vidfill patches 1", 1))
    with pytest.raises(InputError, match="another version of vidfill.*without --resume"):
        list(folder.read(0))


def test_resume_needs_the_same_fingerprint(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "work")
    assert folder.resume({"source": "a"}) is None
    folder.begin({"source": "a", "dilate": "4"}, _plan())
    assert folder.resume({"source": "a", "dilate": "4"}) == _plan()
    with pytest.raises(UsageError, match="dilate was 4, is 6.*leave out --resume"):
        folder.resume({"source": "a", "dilate": "6"})
    with pytest.raises(UsageError, match="fps was not stated, is 25"):
        folder.resume({"source": "a", "dilate": "4", "fps": "25"})


def test_unreadable_plan_is_a_fresh_start(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    (folder.path / "plan.json").write_text("{")
    assert folder.resume({"source": "a"}) is None


def test_fresh_start_removes_segments_only(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    with folder.writing(0) as stored:
        stored.add(_patch(0))
    (folder.path / "holiday.jpg").write_bytes(b"not ours")
    folder.begin({"source": "b"}, _plan())
    assert not folder.has(0)
    folder.remove()
    assert [path.name for path in folder.path.iterdir()] == ["holiday.jpg"]


def test_removing_takes_the_empty_folder_away(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    folder.remove()
    assert not folder.path.exists()
    folder.remove()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="work folder.*--work-dir"):
        WorkFolder(tmp_path / "missing" / "work").begin({}, _plan())


def test_parent_folder_is_checked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    WorkFolder(tmp_path / "work").check()
    WorkFolder(tmp_path).check()
    for path in (tmp_path / "missing" / "work", tmp_path / "file"):
        with pytest.raises(OutputError, match="--work-dir"):
            WorkFolder(path).check()
    assert not (tmp_path / "work").exists()


def test_only_one_run_at_a_time_holds_the_folder(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "work")
    with folder.locked():
        with pytest.raises(BusyError, match=f"in use by process {os.getpid()} on .*--work-dir"), folder.locked():
            pass
        assert (folder.path / "run.lock").exists(), "a run that was refused leaves the lock alone"
    assert not folder.path.exists()
    with folder.locked():
        folder.begin({"source": "a"}, _plan())
    assert folder.resume({"source": "a"}) == _plan()


def test_lock_clears_partial_segments(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    with folder.writing(1) as stored:
        stored.add(_patch(0))
    half = folder.path / "segment_00000.patches.0123.part"
    half.write_bytes(b"half")
    with folder.locked():
        assert not half.exists()
        assert folder.has(1)
        assert folder.n_stored() == 1


def test_fingerprint_of_files_and_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    file, folder = fingerprint_of(path), fingerprint_of(tmp_path)
    assert (file, folder) == (fingerprint_of(path), fingerprint_of(tmp_path))
    path.write_bytes(b"three")
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"a name that is no text")
    assert fingerprint_of(path) != file
    assert fingerprint_of(tmp_path) != folder
    with pytest.raises(InputError, match="cannot read"):
        fingerprint_of(tmp_path / "missing")


def test_memory_comes_back(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    pictures = [Remembered(np.full((5, 7, 3), value, np.uint8), (1 / value, 1 / 7)) for value in (3, 200)]
    folder.keep(4, pictures)
    for found, kept in zip(folder.remembered(4), pictures, strict=True):
        assert (found.picture == kept.picture).all()
        assert found.scale == kept.scale, "to the last bit, or a resumed run would differ"
    assert list(folder.remembered(3)) == []


def test_memory_of_a_refilled_segment(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    folder.keep(4, [Remembered(np.zeros((5, 7, 3), np.uint8), (1.0, 1.0))])
    folder.keep(4, ())
    assert list(folder.remembered(4)) == []
    assert not list(folder.path.glob("*.memory*"))


def test_a_memory_that_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = _begun(tmp_path)
    folder.keep(4, [Remembered(np.zeros((5, 7, 3), np.uint8), (1.0, 1.0))])
    (path,) = folder.path.glob("*.memory")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged.*without --resume"):
        folder.remembered(4)
    safetensors.numpy.save_file({"scales": np.ones((2, 2))}, path)
    with pytest.raises(InputError, match="damaged"):
        folder.remembered(4)
    folder.remove()
    assert not folder.path.exists()
