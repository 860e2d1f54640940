"""The download code against a server of our own on this machine."""

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidfill.cli import app
from vidfill.errors import OutputError, UsageError, WeightsError
from vidfill.weights import fetch as module
from vidfill.weights import find_weights, verify_weights
from vidfill.weights.fetch import PUBLISHED, Published, fetch, published

CONTENT = bytes(range(256)) * 4096  # a megabyte


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` at any path, and remembers what ranges it was asked for."""

    content = CONTENT
    breaks_after: int | None = None
    n_breaks = 0
    knows_ranges = True
    says_length = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.path.endswith("missing.pth"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks_after is not None and self.server.n_breaks > 0:
            self.server.n_breaks -= 1
            body = body[: self.server.breaks_after]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _item(server: Server, file: str = "net_0123.pth") -> Published:
    url = f"http://127.0.0.1:{server.server_address[1]}/{file}"
    return Published("net", url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "Apache-2.0", "a test")


def test_a_fetched_file_is_in_the_manifest(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    folder = tmp_path / "models"
    installed = fetch(_item(server), model_dir=folder, progress=lambda done, total: steps.append((done, total)))
    assert installed.path == folder / "net_0123.pth"
    assert installed.path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert not any(verdict.problem for verdict in verify_weights(model_dir=folder))
    found = find_weights("net", model_dir=folder)
    assert found is not None
    assert found.card.licence == "Apache-2.0"
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "net_0123.pth"]
    fetch(_item(server), model_dir=folder)  # what is here is not fetched again
    assert server.ranges == [None]


def test_a_broken_transfer_is_resumed(server: Server, tmp_path: Path) -> None:
    server.breaks_after, server.n_breaks = 300_000, 2
    fetch(_item(server), model_dir=tmp_path)
    assert (tmp_path / "net_0123.pth").read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert [text is not None and text.startswith("bytes=") for text in server.ranges[1:]] == [True, True]


def test_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net_0123.pth.part").write_bytes(CONTENT[:700_000])
    fetch(_item(server), model_dir=tmp_path)
    assert server.ranges == ["bytes=700000-"]
    assert (tmp_path / "net_0123.pth").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "net_0123.pth.part").write_bytes(b"x" * 1000)
    fetch(_item(server), model_dir=tmp_path)
    assert (tmp_path / "net_0123.pth").read_bytes() == CONTENT


def test_a_transfer_that_keeps_breaking_ends(server: Server, tmp_path: Path) -> None:
    server.breaks_after, server.n_breaks = 10_000, 99
    with pytest.raises(WeightsError, match="again to go on") as caught:
        fetch(_item(server), model_dir=tmp_path)
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["net_0123.pth.part"]
    server.breaks_after = None
    fetch(_item(server), model_dir=tmp_path)
    assert (tmp_path / "net_0123.pth").read_bytes() == CONTENT


def test_another_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsError, match="a file of sha256"):
        fetch(_item(server), model_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(WeightsError, match=r"answers with 26 bytes; expected \d+.*portal"):
        fetch(_item(server), model_dir=tmp_path)
    assert len(server.ranges) == 1
    assert not list(tmp_path.iterdir())


def test_an_endless_answer_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.content, server.says_length = CONTENT + bytes(1 << 20), False
    with pytest.raises(WeightsError, match=r"more than \d+ bytes"):
        fetch(_item(server), model_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net_0123.pth").write_bytes(b"x" * len(CONTENT))
    fetch(_item(server), model_dir=tmp_path)
    assert (tmp_path / "net_0123.pth").read_bytes() == CONTENT


def test_offline_uses_no_network(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="--offline"):
        fetch(_item(server), model_dir=tmp_path, offline=True)
    (tmp_path / "net_0123.pth").write_bytes(CONTENT)  # brought by hand
    assert fetch(_item(server), model_dir=tmp_path, offline=True).path == tmp_path / "net_0123.pth"
    assert server.ranges == []


def test_missing_files_and_unknown_names(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="404"):
        fetch(_item(server, "missing.pth"), model_dir=tmp_path)
    with pytest.raises(UsageError, match="sam_vit_b, sam_vit_l, sam_vit_h"):
        published("sam")


def test_a_full_disk_is_noticed_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(OutputError, match="needs 1 MB"):
        fetch(_item(server), model_dir=tmp_path)
    assert server.ranges == []


def test_the_command_states_size_and_licence_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISHED", (_item(server),))
    words = ["weights", "fetch", "net", "--model-dir", str(tmp_path / "models"), "--progress", "plain"]
    done = CliRunner().invoke(app, [*words, "--offline"])
    assert done.exit_code == 6
    assert server.ranges == []
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert lines[0].startswith("net: 1 MB from http://127.0.0.1:")
    assert "Apache-2.0" in lines[0]
    assert any(line.startswith("fetch 0/2 MB") for line in lines)
    assert lines[-1].endswith("sha256 is right")
    listed = CliRunner().invoke(app, ["weights", "list", "--json", "--model-dir", str(tmp_path / "models")])
    assert "net_0123.pth" in listed.stdout
    assert CliRunner().invoke(app, ["weights", "fetch", "all"]).exit_code == 2


def test_the_table_says_size_and_licence() -> None:
    for item in PUBLISHED:
        assert item.file.endswith(".pth")
        assert len(item.sha256) == 64
        assert "Apache-2.0" in item.describe()
    assert "375 MB from https://dl.fbaipublicfiles.com/" in published("sam_vit_b").describe()
