"""The requests of the page, from prompts to the finished file."""

import io
import json
import shlex
import threading
import zipfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.clips import Clip, write_clip
from tests.engine.models import WINDOW, Chained
from tests.ui.conftest import N_FRAMES, Page, box_around, prompts_of, serving
from vidfill.cli import app
from vidfill.masks.edit import dilate
from vidfill.masks.prompt import Prompting, read_prompts
from vidfill.settings.commands import UiSettings
from vidfill.track.layer import default_growth
from vidfill.ui.project import Project
from vidfill.video.read import probe


def _picture(data: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def _mask(view: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask that is laid over the picture."""
    return np.asarray(_picture(b64decode(view["image"].removeprefix("data:image/png;base64,")))[..., 3] > 0)


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def _inside(picture: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Mean difference from a truth (RGB) inside a mask, in grey levels."""
    return float(np.abs(picture[..., ::-1].astype(float) - truth)[mask].mean())


def test_state_describes_the_source(untouched: Page) -> None:
    state = untouched.get("api/state")
    assert state["is_ready"]
    source = state["source"]
    assert (source["width"], source["height"], source["n_frames"], source["cuts"]) == (112, 72, N_FRAMES, [])
    assert (source["name"], state["prompts"]["objects"]) == ("in.mp4", [])
    assert (state["track"], state["preview"], state["result"]) == (None, None, None)


def test_frames_and_times_of_the_source(untouched: Page, clip: Clip) -> None:
    for index in (6, 0, 5, 9):
        answer = untouched.ask("GET", f"api/frames/{index}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert float(answer.headers["x-time-s"]) == pytest.approx(index / 25)
        assert _inside(_picture(answer.body), clip.pictures[index], np.ones((72, 112), bool)) < 12


def test_prompts_select_at_once_and_are_saved(page: Page, clip: Clip) -> None:
    answer = page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 3)))
    assert answer.status == 200
    view = page.get("api/masks/3")
    assert view["origin"] == "selection"
    assert view["objects"][0]["is_sure"]
    assert _iou(_mask(view), clip.masks[3]) > 0.8
    assert page.get("api/masks/4")["origin"] == "none"
    project = page.project
    assert read_prompts(project.prompts_file) == project.prompts
    assert page.ask("GET", "download/prompts").body.decode() == project.prompts_file.read_text()
    words = ["vidfill", "remove", project.source, "--prompts", project.prompts_file, "-o", project.output]
    assert shlex.split(page.get("api/state")["command"]) == [str(word) for word in words]


def test_prompts_of_an_earlier_run_are_loaded(clip: Clip, tmp_path: Path) -> None:
    given = prompts_of({"time": "0.16", "points": [[60, 40]], "not_points": [[2, 3]]})
    (tmp_path / "prompts.json").write_text(json.dumps(given))
    with serving(Project(clip.path, tmp_path / "out.mp4", UiSettings(prompts=tmp_path / "prompts.json"))) as page:
        entry = page.get("api/state")["prompts"]["objects"][0]["prompts"][0]
    assert entry == {"time": "#4", "points": [[60.0, 40.0]], "not_points": [[2.0, 3.0]]}


def test_only_negative_points(page: Page) -> None:
    assert page.ask("PUT", "api/prompts", prompts_of({"time": "#0", "not_points": [[5, 5]]})).status == 200
    view = page.get("api/masks/0")
    assert view["image"] is None
    assert "only points that are not on the object" in view["objects"][0]["reason"]
    answer = page.ask("POST", "api/track", {})
    assert (answer.status, answer.json["error"]["kind"]) == (400, "UsageError")


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (prompts_of({"time": "#0", "points": [[112, 5]]}), 400, "outside the picture"),
        (prompts_of({"time": "#0", "box": [9, 9, 3, 3]}), 400, "x1 greater than x0"),
        (prompts_of({"time": "#10", "points": [[5, 5]]}), 400, "last frame, #9"),
        (prompts_of({"time": "#0", "points": [[5, 5]], "not_points": [[5, 5]]}), 400, "both on object 1"),
        (prompts_of({"time": "#0", "box": [-9, -9, -3, -3]}), 400, "outside the picture"),
        (prompts_of({"time": "yesterday", "points": [[5, 5]]}), 400, "yesterday"),
        (prompts_of({"time": "#0", "path": "/etc/passwd"}), 400, "unknown field"),
        ({"objects": 5}, 400, "cannot be used"),
        ([1, 2], 422, "dictionary"),
        (b"{", 422, "JSON"),
        (b'{"schema_version": NaN}', 400, "not finite"),
    ],
)
def test_invalid_prompts_change_nothing(untouched: Page, content: object, status: int, says: str) -> None:
    answer = untouched.ask("PUT", "api/prompts", content)
    assert answer.status == status
    assert says in answer.json["error"]["message"]
    assert not untouched.project.prompts_file.exists()
    assert not untouched.project.prompts


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "says"),
    [
        ("GET", "api/frames/10", None, 404, "0 to 9"),
        ("GET", "api/frames/-1", None, 404, "0 to 9"),
        ("GET", "api/frames/x", None, 422, "index"),
        ("GET", "api/masks/99", None, 404, "0 to 9"),
        ("GET", "api/filled/0", None, 404, "one of the preview"),
        ("GET", "api/result/0", None, 404, "no result yet"),
        ("GET", "api/track", None, 404, "no track yet"),
        ("GET", "download/result", None, 404, "no result yet"),
        ("GET", "download/masks", None, 404, "no track yet"),
        ("POST", "api/track", {}, 400, "nothing to track"),
        ("POST", "api/preview", {"start": 0, "stop": 4}, 400, "no track yet"),
        ("POST", "api/remove", {}, 400, "no track yet"),
        ("POST", "api/remove", {"dilate": -1}, 422, "dilate"),
        ("POST", "api/state", {}, 405, "Not Allowed"),
    ],
)
def test_errors_are_json(untouched: Page, method: str, path: str, content: object, status: int, says: str) -> None:
    answer = untouched.ask(method, path, content)
    assert answer.status == status
    assert says in answer.json["error"]["message"]


def test_from_a_box_to_the_finished_file(page: Page, clip: Clip) -> None:
    page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
    selected = _mask(page.get("api/masks/0"))

    page.do("api/track", {})
    track = page.get("api/track")
    assert track["lost"] == []
    assert track["prompted"] == [0]
    assert [len(one["columns"]) for one in track["objects"]] == [N_FRAMES]
    assert np.array_equal(_mask(page.get("api/masks/0")), selected), "what is shown at once is what is followed"
    assert min(_iou(_mask(page.get(f"api/masks/{i}")), clip.masks[i]) for i in range(N_FRAMES)) > 0.6

    page.do("api/preview", {"start": 3, "stop": 6, "dilate": None})
    assert page.get("api/state")["preview"]["done"] == [3, 4, 5]
    filled = _picture(page.ask("GET", "api/filled/5").body)
    assert _inside(filled, clip.background[5], clip.masks[5]) < 0.3 * _inside(filled, clip.pictures[5], clip.masks[5])

    output = Path(page.project.output)
    page.do("api/remove", {"dilate": 3})
    assert page.ask("GET", "download/result").body == output.read_bytes()
    shown = _picture(page.ask("GET", "api/result/5").body)
    assert _inside(shown, clip.background[5], clip.masks[5]) < 0.3 * _inside(shown, clip.pictures[5], clip.masks[5])

    masks = zipfile.ZipFile(io.BytesIO(page.ask("GET", "download/masks").body))
    assert masks.testzip() is None
    assert len(masks.namelist()) == N_FRAMES
    grown = dilate(page.project.followed().track.mask(5), default_growth(page.project.info))
    assert np.array_equal(_picture(masks.read("000005.png")), grown * np.uint8(255))

    command = shlex.split(page.get("api/state")["command"])
    outcome = CliRunner().invoke(app, [*command[1:], "-y", "--dilate", "3"])
    assert outcome.exit_code == 0, outcome.output

    output.unlink()
    answer = page.ask("GET", "download/result")
    assert (answer.status, answer.json["error"]["found"]) == (404, "the result is not there any more")


def test_changed_prompts_make_a_track_stale(page: Page, clip: Clip) -> None:
    first = prompts_of(box_around(clip, 0))
    page.ask("PUT", "api/prompts", first)
    page.do("api/track", {})
    second = prompts_of(box_around(clip, 0), {"time": "#8", "points": [[82, 36]]})
    assert page.ask("PUT", "api/prompts", second).json["track"]["is_stale"]
    assert page.get("api/masks/8")["origin"] == "selection"
    assert (page.get("api/masks/4")["origin"], page.get("api/masks/4")["is_stale"]) == ("track", True)
    answer = page.ask("POST", "api/remove", {})
    assert (answer.status, "changed after tracking" in answer.json["error"]["message"]) == (400, True)
    assert not page.ask("PUT", "api/prompts", first).json["track"]["is_stale"]


def test_lost_object_stops_the_removal(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", n=N_FRAMES, size=(72, 112), with_object=True, cut=6)
    with serving(Project(clip.path, tmp_path / "out.mp4", UiSettings())) as page:
        page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
        page.do("api/track", {})
        assert page.get("api/state")["source"]["cuts"] == [6]
        lost = page.get("api/track")["lost"]
        assert [(one["start"], one["stop"]) for one in lost] == [(6, N_FRAMES)]
        assert lost[0]["text"].startswith("object 1 is lost at 0.24 s (frames #6 to #9): no prompt in this scene")
        assert lost[0]["seen"]["frame"] == 5
        assert page.get("api/masks/7")["objects"][0]["confidence"] == -1
        answer = page.ask("POST", "api/remove", {})
        assert (answer.status, answer.json["error"]["kind"]) == (400, "MaskError")
        job = page.do("api/remove", {"allow_lost": True})
        assert any("object 1 is lost" in text for text in job["warnings"])


def test_result_has_invented_ratio_and_licence(tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidfill.removal.run.load_model", lambda name, **options: Chained(WINDOW))
    with serving(Project(clip.path, tmp_path / "out.mp4", UiSettings(model="cleanplate"))) as page:
        page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
        page.do("api/track", {})
        page.do("api/remove", {})
        result = page.get("api/state")["result"]
    assert result["invented"] == 0.25
    assert result["licence_notice"].startswith("the weights of cleanplate are for research use only")


def test_settings_reach_the_preview_and_the_output(tmp_path: Path, clip: Clip) -> None:
    settings = UiSettings(model="propagate", codec="ffv1", encoder_options={"slices": "4"}, grain=False)
    with serving(Project(clip.path, tmp_path / "out.mkv", settings)) as page:
        page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
        page.do("api/track", {})
        page.do("api/preview", {"start": 5, "stop": 6})
        filled = page.ask("GET", "api/filled/5").body
        page.do("api/remove", {})
        assert page.ask("GET", "api/result/5").body == filled, "without grain and losses both show the same"
    assert probe(tmp_path / "out.mkv").codec == "ffv1"


def test_shadows_in_the_masks(page: Page, clip: Clip) -> None:
    page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
    page.do("api/track", {"shadow": True})
    assert page.get("api/state")["track"]["shadow"]
    found = page.project.followed()
    prompting = Prompting(found.prompts, shadow=True, allow_lost=True)
    assert prompting.fingerprint() in found.track.key, "a removal with --shadow takes this very track"


def test_one_job_at_a_time(page: Page, clip: Clip) -> None:
    page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
    is_over = threading.Event()
    page.project.jobs.start("waiting", lambda report: _wait_for(is_over))
    try:
        answer = page.ask("POST", "api/track", {})
        assert (answer.status, answer.json["error"]["kind"]) == (409, "BusyError")
        assert page.get("api/masks/0")["origin"] == "selection", "the page goes on meanwhile"
    finally:
        is_over.set()
    page.wait()
    page.do("api/track", {})


def _wait_for(event: threading.Event) -> None:
    event.wait()


def test_cancelled_removal_can_be_resumed(page: Page, clip: Clip) -> None:
    page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
    page.do("api/track", {})
    page.ask("POST", "api/remove", {})
    page.ask("POST", "api/cancel")
    assert page.wait()["state"] == "cancelled"
    output = Path(page.project.output)
    assert not [path for path in output.parent.iterdir() if path.name.startswith("out.mp4")]
    page.do("api/remove", {})
    assert output.exists()
    assert page.ask("POST", "api/remove", {}).status == 202, "what the page wrote itself it may replace"


def test_closing_removes_temporary_files(clip: Clip, tmp_path: Path) -> None:
    project = Project(clip.path, tmp_path / "out.mp4", UiSettings())
    with serving(project) as page:
        page.ask("PUT", "api/prompts", prompts_of(box_around(clip, 0)))
        page.do("api/track", {})
        page.ask("POST", "api/remove", {})
    assert project.jobs.last is not None
    assert project.jobs.last.state == "cancelled"
    assert [path.name for path in tmp_path.iterdir()] == ["in.prompts.json"]
