"""Who is let in, and what every answer says to the browser."""

import socket

import pytest

from tests.ui.conftest import Page


@pytest.mark.parametrize("prefix", ["/", "/wrong/", "//", "/api/state?token="])
def test_no_answer_without_the_token(untouched: Page, prefix: str) -> None:
    for path in ("", "app.js", "api/state", "api/frames/0", "download/prompts"):
        answer = untouched.ask("GET", path, prefix=prefix)
        assert answer.status == 403
        assert "token" in answer.json["error"]["message"]


def test_whole_token_is_compared(untouched: Page) -> None:
    assert untouched.ask("GET", "api/state", prefix=untouched.prefix[:-2] + "/").status == 403
    assert untouched.ask("GET", "api/state", prefix=untouched.prefix[:-1]).status == 403
    assert untouched.ask("GET", "api/state", prefix="/" + untouched.prefix.strip("/").swapcase() + "/").status == 403
    assert len(untouched.prefix.strip("/")) >= 32


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost.example.org:{port}", ""])
def test_foreign_hosts_are_refused(untouched: Page, host: str) -> None:
    port = untouched.host.rpartition(":")[2]
    answer = untouched.ask("GET", "api/state", headers={"Host": host.format(port=port)})
    assert answer.status == 421


def test_localhost_is_this_machine(untouched: Page) -> None:
    port = untouched.host.rpartition(":")[2]
    assert untouched.ask("GET", "api/state", headers={"Host": f"localhost:{port}"}).status == 200


def test_other_addresses_cannot_connect(untouched: Page) -> None:
    port = int(untouched.host.rpartition(":")[2])
    # The whole of 127.0.0.0/8 is this machine; a server on all addresses would answer on this one as well.
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_large_bodies_are_not_read(untouched: Page) -> None:
    answer = untouched.ask("PUT", "api/prompts", headers={"Content-Length": str((1 << 20) + 1)})  # and sends none of it
    assert answer.status == 413
    answer = untouched.ask("PUT", "api/prompts", headers={"Transfer-Encoding": "chunked"})
    assert answer.status == 413


@pytest.mark.parametrize("path", ["", "app.js", "api/state", "api/frames/0", "no/such/thing", "api/frames/999"])
def test_every_answer_keeps_the_browser_here(untouched: Page, path: str) -> None:
    headers = untouched.ask("GET", path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    ["../../../etc/passwd", "..%2f..%2fsettings.py", "%2e%2e/app.py", "app.py", "index.html", "page/app.js", "docs"],
)
def test_only_the_pages_own_files_are_served(untouched: Page, path: str) -> None:
    answer = untouched.ask("GET", path)
    assert answer.status == 404
    assert answer.json["error"]["kind"] == "UsageError"


def test_page_is_complete_and_loads_nothing_else(untouched: Page) -> None:
    index = untouched.ask("GET", "")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    for name in ("style.css", "icon.svg", "app.js", "api.js", "panels.js", "prompts.js", "stage.js", "timeline.js"):
        answer = untouched.ask("GET", name)
        assert answer.status == 200
        assert b"//" not in answer.body.replace(b"// ", b"").replace(b"http://www.w3.org/2000/svg", b""), name
    assert b"://" not in index.body
