"""A headless Chromium, spoken to in the few words of the WebDriver protocol that the tests need.

https://www.w3.org/TR/webdriver2/: JSON over HTTP to chromedriver, which Debian has in the package chromium-driver.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Space": " ",
    "Left": "\ue012",
    "Up": "\ue013",
    "Right": "\ue014",
    "Down": "\ue015",
    "Shift": "\ue008",
    "Control": "\ue009",
}
_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


class Programs(NamedTuple):
    """The browser and its driver."""

    chromium: str
    chromedriver: str


def find_programs() -> Programs | None:
    """The browser of this machine, None where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    return Programs(chromium, chromedriver) if chromium and chromedriver else None


class Browser:
    """One window.

    Args:
        address: of the session at the driver.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("POST", "url", {"url": url})

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show pages at this size (in CSS pixels), as a phone would below 600, in light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *values: object) -> Any:
        """What a JavaScript function body returns."""
        return self._ask("POST", "execute/sync", {"script": script, "args": values})

    def wait(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true."""
        while not (value := self.run(f"return {condition}")):
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """The text that an element shows."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        self.drag(selector, (0.5, 0.5), (0.5, 0.5))

    def drag(self, selector: str, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press the mouse on one place of an element and let it go on another, as parts of its width and height."""
        found = "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'nearest'});"
        box = self.run(f"{found} const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]", selector)
        places = [[round(box[i] + part[i] * box[2 + i]) for i in (0, 1)] for part in (start, stop)]
        steps: list[dict[str, Any]] = [_move(*places[0]), {"type": "pointerDown", "button": 0}]
        if stop != start:
            steps += [_move(*places[1])]
        steps += [{"type": "pointerUp", "button": 0}]
        self._act({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps})

    def press(self, *names: str) -> None:
        """Press and let go keys, one after the other: letters, or names of `KEYS`; "Shift+Tab" for both at once."""
        steps = []
        for name in names:
            keys = [KEYS.get(part, part) for part in (name.split("+") if len(name) > 1 else [name])]
            steps += [{"type": "keyDown", "value": key} for key in keys]
            steps += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._act({"type": "key", "id": "keyboard", "actions": steps})

    def console(self) -> list[str]:
        """What the page, or the browser about the page, has complained of since the last time."""
        entries = self._ask("POST", "se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")  # no scrollbar is drawn
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        wanted = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self._devtools("Page.captureScreenshot", wanted)["data"]))

    def _devtools(self, name: str, parameters: dict[str, Any]) -> Any:
        return self._ask("POST", "goog/cdp/execute", {"cmd": name, "params": parameters})

    def _act(self, source: dict[str, Any]) -> None:
        self._ask("POST", "actions", {"actions": [source]})

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        return ask(method, f"{self._address}/{path}", content)


@contextmanager
def open_browser(programs: Programs) -> Iterator[Browser]:
    """A browser of our own, with nothing in it from before; closed at the end."""
    with subprocess.Popen([programs.chromedriver, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line = next(line for line in driver.stdout if "started successfully on port" in line)
            port = line.rstrip(". \n").rpartition(" ")[2]
            address = f"http://127.0.0.1:{port}"
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": {"binary": programs.chromium, "args": _ARGUMENTS},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            session = ask("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(f"{address}/session/{session}")
            finally:
                ask("DELETE", f"{address}/session/{session}", None)
        finally:
            driver.terminate()


def ask(method: str, url: str, content: dict[str, Any] | None) -> Any:
    """One request to the driver.

    Raises:
        AssertionError: it cannot be done; says why.
    """
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from error


def _move(x: int, y: int) -> dict[str, Any]:
    return {"type": "pointerMove", "x": x, "y": y, "duration": 20, "origin": "viewport"}
