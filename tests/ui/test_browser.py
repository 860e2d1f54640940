"""The page in a headless Chromium: with a mouse, with keys alone, on a desk and on a phone."""

from collections.abc import Iterator

import pytest

from tests.clips import Clip
from tests.ui.browser import Browser, find_programs, open_browser
from tests.ui.conftest import N_FRAMES, Page, box_around

READY = "document.getElementById('canvas').ariaLabel.includes('frame')"
STATUS = "document.getElementById('status').innerText"
# How much of the picture is tinted as what goes.
TINTED = """
const canvas = document.getElementById("canvas");
const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
copy.drawImage(canvas, 0, 0);
const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
let n = 0;
for (let i = 0; i < pixels.length; i += 4) if (pixels[i] === 255 && pixels[i + 1] === 0 && pixels[i + 2] === 200) n++;
return n;
"""
# What a person who cannot see the page is told of each control; and whether all fits into the width.
NAMELESS = """
return [...document.querySelectorAll("button, input, canvas:not([aria-hidden]), a, fieldset, progress")]
  .filter((e) => !(e.ariaLabel || e.innerText.trim() || e.labels?.length || e.getAttribute("aria-labelledby")))
  .map((e) => e.outerHTML);
"""
TOO_WIDE = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
FOCUSED = """
const e = document.activeElement;
const ring = getComputedStyle(e.parentElement.matches("label") && e.type === "radio" ? e.nextElementSibling : e);
return [e.id || e.value, ring.outlineStyle !== "none" && parseFloat(ring.outlineWidth) >= 2];
"""


@pytest.fixture(scope="module")
def running_browser() -> Iterator[Browser]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no browser here: the page is looked at with Chromium and chromedriver (apt: chromium-driver)")
    with open_browser(programs) as browser:
        yield browser


@pytest.fixture
def browser(running_browser: Browser, page: Page) -> Iterator[Browser]:
    """The page at the width of a desk; it must not have complained of anything."""
    running_browser.resize(1280, 900)
    running_browser.open(page.address)
    running_browser.wait(READY)
    yield running_browser
    running_browser.open("about:blank")  # before the server goes
    assert running_browser.console() == []


def test_a_box_a_click_and_undo(browser: Browser, page: Page, clip: Clip) -> None:
    x0, y0, x1, y1 = box_around(clip, 0)["box"]
    browser.drag("#canvas", (x0 / 112, y0 / 72), (x1 / 112, y1 / 72))
    browser.wait(f"{STATUS}.includes('% sure')")
    assert browser.run(TINTED) > 0
    (box,) = page.project.prompts.boxes
    assert [abs(a - b) <= 1 for a, b in zip((box.x0, box.y0, box.x1, box.y1), (x0, y0, x1, y1), strict=True)]
    browser.click("#new-object")
    browser.click('#tools [value="not_points"]')
    browser.click("#canvas")
    browser.wait("document.querySelectorAll('#prompts li').length === 2")
    browser.wait(f"!{STATUS}.includes('Selecting')")
    (click,) = page.project.prompts.clicks
    assert (click.object_id, click.is_object) == (2, False)
    assert (abs(click.x - 56) <= 1, abs(click.y - 36) <= 1) == (True, True)
    for _ in range(2):
        browser.click("#undo")
    browser.wait("document.querySelectorAll('#prompts li').length === 0")
    browser.wait("!document.getElementById('redo').disabled && document.getElementById('undo').disabled")
    browser.wait(f"(() => {{{TINTED}}})() === 0")
    assert not page.project.prompts


def test_keyboard_only(browser: Browser, page: Page, clip: Clip) -> None:
    reach(browser, "canvas")
    x0, y0, x1, y1 = box_around(clip, 0)["box"]
    browser.press(*["Shift+Left"] * (56 - x0), *["Shift+Up"] * (36 - y0), "b")
    browser.press(*["Shift+Right"] * (x1 - 1 - x0), *["Shift+Down"] * (y1 - 1 - y0), "b")
    browser.wait(f"{STATUS}.includes('% sure')")
    (box,) = page.project.prompts.boxes
    assert (box.x0, box.y0, box.x1, box.y1) == (x0, y0, x1, y1)
    browser.press("+", ".", ".", ",")
    browser.wait("document.getElementById('time').innerText.includes('#1 of')")
    assert len(page.project.prompts.clicks) == 1
    browser.press("z")
    reach(browser, "track")
    browser.press("Enter")
    browser.wait("document.getElementById('track-text').innerText.startsWith('Every object is known')")
    reach(browser, "preview-count")
    browser.press("Control+a", "2")
    reach(browser, "preview")
    browser.press("Enter")
    browser.wait("document.querySelector('#views [value=filled]').checked")
    assert page.project.preview is not None
    assert page.project.preview.frames == range(1, 3)
    assert page.wait()["state"] == "done"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_and_controls_have_names(browser: Browser, width: int, dark: bool) -> None:
    browser.resize(width, 844, dark=dark)
    assert not browser.run(TOO_WIDE)
    assert browser.run(NAMELESS) == []
    shade = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(shade) < 64) == dark


def test_page_reports_a_dead_server(browser: Browser, page: Page) -> None:
    page.project.jobs.start("waiting", lambda report: None)
    browser.run("window.fetch = () => Promise.reject(new TypeError())")
    browser.click("#forward")
    browser.wait("document.getElementById('alert').innerText.includes('no longer answers')")
    assert f"of {N_FRAMES}" in browser.text("#time")


def reach(browser: Browser, control: str) -> None:
    """Press Tab until a control has the focus; each on the way shows that it has it."""
    for _ in range(60):
        browser.press("Tab")
        name, is_seen = browser.run(FOCUSED)
        if name == control:
            assert is_seen
            return
        assert is_seen or not name, name
    raise AssertionError(f"Tab never comes to {control}")
