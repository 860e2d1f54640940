"""Files, folders and globs become jobs: a mask and an output for each video, and never one output for two."""

import os
from fractions import Fraction
from pathlib import Path

import pytest

from vidfill.batch.inputs import BatchJob, Shard, find_jobs
from vidfill.errors import InputError, UsageError


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    (tmp_path / "x").mkdir()
    for name in ("a.mp4", "b.MOV", "notes.txt", "a_masks.png", "._a.mp4"):
        (folder / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return folder


def _found(jobs: list[BatchJob]) -> list[tuple[str, str]]:
    return [(job.source.name, job.name) for job in jobs]


def test_videos_of_a_folder(clips: Path) -> None:
    assert _found(find_jobs([clips], Path("out"))) == [("a.mp4", "a_filled.mp4"), ("b.MOV", "b_filled.MOV")]


def test_named_files_are_taken_once(clips: Path) -> None:
    jobs = find_jobs(["clips/b.MOV", clips / "a.mp4", "clips/*.mp4", "clips", "clips/notes.txt"], Path("out"))
    assert [job.source.name for job in jobs] == ["b.MOV", "a.mp4", "notes.txt"]


def test_globs_reach_any_depth(clips: Path) -> None:
    deep = clips / "x" / "y"
    deep.mkdir(parents=True)
    (deep / "c.mkv").write_text("")
    jobs = find_jobs(["clips/**/*.m??"], Path("out"))
    assert [job.source.name for job in jobs] == ["a.mp4", "c.mkv"]
    assert [job.source.name for job in find_jobs(["cl*"], Path("out"))] == ["a.mp4", "b.MOV"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("{stem}{ext}", "a.mp4"),
        ("{parent}/{stem}-clean.mkv", "clips/a-clean.mkv"),
        ("{name}.mov", "a.mp4.mov"),
    ],
)
def test_names_of_outputs(clips: Path, name: str, expected: str) -> None:
    assert find_jobs([clips / "a.mp4"], Path("out"), name=name)[0].name == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{stem}_masks", "clips/a_masks"),
        ("../masks/{parent}/{name}.png", "clips/../masks/clips/a.mp4.png"),
        ("/masks/{stem}", "/masks/a"),
        ("alpha", "alpha"),
    ],
)
def test_mask_pattern(clips: Path, pattern: str, expected: str) -> None:
    assert find_jobs(["clips/a.mp4"], Path("out"), mask_pattern=pattern)[0].mask == expected
    assert find_jobs(["clips/a.mp4"], Path("out"))[0].mask is None


def test_masks_and_outputs_are_not_inputs(clips: Path) -> None:
    for name in ("a_mask.mp4", "a_filled.mp4", "b_filled.MOV"):
        (clips / name).write_text("")
    jobs = find_jobs([clips], clips, mask_pattern="{stem}_mask.mp4")
    assert [job.source.name for job in jobs] == ["a.mp4", "b.MOV"]


def test_folders_of_masks_beside_videos(clips: Path) -> None:
    (clips / "a_m").mkdir()
    jobs = find_jobs(["clips/a.mp4", "clips/a_m", "clips/a_[m]"], Path("out"), mask_pattern="{stem}_m")
    assert [job.source.name for job in jobs] == ["a.mp4"]


def test_links_are_videos_of_their_own(clips: Path) -> None:
    (clips / "link.mp4").symlink_to("a.mp4")
    (clips / "loop.mp4").symlink_to("loop.mp4")
    Path("again").symlink_to(clips)
    jobs = find_jobs([clips, "again"], Path("out"), mask_pattern="{stem}_masks")
    assert [job.source for job in jobs] == [clips / name for name in ("a.mp4", "b.MOV", "link.mp4", "loop.mp4")]


def test_folder_of_images_with_a_frame_rate(tmp_path: Path) -> None:
    frames = tmp_path / "shot.v2"
    frames.mkdir()
    (frames / "0.png").write_text("")
    (job,) = find_jobs([frames], tmp_path / "out", fps=Fraction(25))
    assert (job.source, job.name, job.makes_folder) == (frames, "shot.v2_filled", True)
    (job,) = find_jobs([frames], tmp_path / "out", name="{stem}.mp4", fps=Fraction(25))
    assert (job.name, job.makes_folder) == ("shot.v2.mp4", False)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        ([], {}, "no inputs"),
        (["clips/*.webm"], {}, "nothing matches clips/"),
        ([""], {}, "an empty name"),
        (["a" * 256], {}, r"cannot read a+ \(File name too long\)"),
        (["x"], {"mask_pattern": "{stem}_masks"}, "no videos in the folder x"),
        (["clips"], {"name": "same.mp4"}, "a.mp4 and clips/b.MOV would both become same.mp4.*--name"),
        (["clips/a.mp4"], {"name": "{title}.mp4"}, "pattern '{title}.mp4'.*{stem}, {ext}, {name}, {parent}"),
        (["clips/a.mp4"], {"name": "../{stem}"}, "the name '../{stem}'"),
        (["clips/a.mp4"], {"name": "/x/{stem}"}, "the name '/x/{stem}'"),
        (["clips/a.mp4"], {"name": "{stem"}, "pattern '{stem'"),
        (["clips/a.mp4"], {"mask_pattern": "{stem.x}"}, "pattern '{stem.x}'"),
    ],
)
def test_errors(clips: Path, inputs: list[str], options: dict[str, str], says: str) -> None:
    with pytest.raises((UsageError, InputError), match=says):
        find_jobs(inputs, Path("out"), **options)  # type: ignore[arg-type]


def test_output_never_replaces_a_source(clips: Path) -> None:
    with pytest.raises(UsageError, match="would replace"):
        find_jobs([clips], clips, name="{stem}{ext}")
    with pytest.raises(InputError, match="no file clips/c.mp4"):
        find_jobs(["clips/c.mp4"], clips)


def test_shards_cover_all_jobs_wherever_they_are() -> None:
    names = [f"{n}_filled.mp4" for n in range(199)] + [os.fsdecode(b"\xff.mp4")]
    jobs = [BatchJob(Path(f"/here/{n}.mp4"), name, None, makes_folder=False) for n, name in enumerate(names)]
    elsewhere = [BatchJob(Path(f"/there/{n}.mp4"), job.name, None, makes_folder=False) for n, job in enumerate(jobs)]
    parts = [[job.name for job in jobs if Shard(i, 4).holds(job)] for i in (1, 2, 3, 4)]
    assert sorted(sum(parts, [])) == sorted(job.name for job in jobs)
    assert all(30 < len(part) < 70 for part in parts)
    assert [job.name for job in elsewhere if Shard(2, 4).holds(job)] == parts[1]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "-1/4", ""])
def test_invalid_shards(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        Shard.parse(text)
