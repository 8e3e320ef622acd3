"""`sentiscale fetch` with the hub's real client: against nothing, and against a hub on this machine."""

import hashlib
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("huggingface_hub", reason="downloads need the extra 'fetch'")

REVISION = "a" * 40
BLOCK = 8 * 2**20  # what the client is asked for at a time
NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once

FETCH = """
import json, sys
from sentiscale.datasets.fetch import fetch
print(fetch("amazon-polarity", sys.argv[1], expected={"train": 60_000, "test": 2}).model_dump_json())
"""


def reviews(rows: int, letters: int = 0) -> bytes:
    """A Parquet file of `rows` reviews, each with as many letters of padding."""
    columns = {
        "label": [row % 2 for row in range(rows)],
        "title": [f"title {row}" for row in range(rows)],
        "content": [f"content {row}" + "x" * letters for row in range(rows)],
    }
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer, compression="none", use_dictionary=False)
    return buffer.getvalue()


class Hub(ThreadingHTTPServer):
    """The few answers of the hub that a download needs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = {
            "amazon_polarity/train-00000-of-00001.parquet": reviews(60_000, letters=300),  # 20 MB
            "amazon_polarity/test-00000-of-00001.parquet": reviews(2),
            "README.md": b"not wanted",
        }
        self.stated = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        self.failing = False
        """Refuse every block but the first."""
        self.sent_from: list[int] = []
        """Where the large answers began."""


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.path.startswith("/api/"):
            self.describe()
            return
        if self.server.failing and self.command == "GET" and self.server.sent_from:
            self.send_error(403)  # the client repeats what may mend itself, such as 500, for 23 seconds
            return
        path = re.sub(r"^/datasets/fancyzhx/amazon_polarity/resolve/[^/]+/", "", self.path)
        content = self.server.files.get(path)
        if content is None:
            self.send_error(404)
            return
        wanted = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = content[start : int(wanted[2]) + 1] if wanted else content
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{self.server.stated[path]}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        if body:
            if len(content) > 10_000:
                self.server.sent_from.append(start)
            self.wfile.write(part)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.describe()

    def describe(self) -> None:
        """The repository, or (paths-info, tree) a list of its files."""
        stated = {
            path: {"sha256": digest, "oid": digest, "size": len(self.server.files[path]), "pointerSize": 130}
            for path, digest in self.server.stated.items()
        }
        listed = [
            {
                "type": "file",
                "path": path,
                "rfilename": path,
                "oid": REVISION,
                "size": lfs["size"],
                "lfs": lfs,
            }
            for path, lfs in stated.items()
        ]
        whole = {"id": "fancyzhx/amazon_polarity", "sha": REVISION, "siblings": listed, "private": False}
        encoded = json.dumps(listed if re.search("/(tree|paths-info)/", self.path) else whole).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run_fetch(out) -> subprocess.CompletedProcess[str]:
    """A fetch of a collection of a size that a test can hold."""
    return subprocess.run(
        [sys.executable, "-c", FETCH, str(out)], capture_output=True, text=True, timeout=200, check=False
    )


def test_without_a_network_it_says_what_to_do_by_hand(sentiscale, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    done = sentiscale("fetch", "amazon-polarity", "--out", "my reviews", "--json", seconds=30)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for needed in (
        "train.ft.txt.bz2",
        "bittlingmayer/amazonreviews",
        "amazon_review_polarity_csv.tgz",
        "sentiscale fetch amazon-polarity --out 'my reviews'",
        "sentiscale prepare 'my reviews/train.ft.txt.bz2' --test 'my reviews/test.ft.txt.bz2'",
    ):
        assert needed in done.stderr


def test_a_missing_package_is_named_with_its_remedy(tmp_path):
    """The import is blocked as Python documents it, by an entry None."""
    code = "import sys; sys.modules['huggingface_hub'] = None; from sentiscale.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "fetch", "amazon-polarity", "--out", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "sentiscale[fetch]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_files_from_the_hub_are_checked_and_not_fetched_twice(hub, tmp_path):
    done = run_fetch(tmp_path / "data")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["rows"] == {"train": 60_000, "test": 2}
    assert summary["source"] == "Hugging Face hub"
    for path, content in hub.files.items():
        if path.endswith(".parquet"):
            assert (tmp_path / "data" / path).read_bytes() == content
    assert not (tmp_path / "data" / "README.md").exists()
    again = run_fetch(tmp_path / "data")
    assert json.loads(again.stdout)["rows"] == summary["rows"]
    assert hub.sent_from == [0, BLOCK, 2 * BLOCK], "complete files need no network"


def test_a_broken_download_goes_on_where_it_stopped(hub, tmp_path):
    hub.failing = True
    broken = run_fetch(tmp_path / "data")
    assert broken.returncode != 0
    assert "to resume" in broken.stderr
    hub.failing = False
    done = run_fetch(tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert hub.sent_from == [0, BLOCK, 2 * BLOCK]


def test_content_that_is_not_what_the_hub_states_is_refused(hub, tmp_path):
    path = "amazon_polarity/test-00000-of-00001.parquet"
    hub.files[path] = reviews(2).replace(b"content 1", b"content 9")
    done = run_fetch(tmp_path / "data")
    assert done.returncode != 0
    assert "is not what the hub states" in done.stderr
    assert not (tmp_path / "data" / path).exists()


def test_another_collection_under_the_same_name_is_refused(hub, sentiscale):
    done = sentiscale("fetch", "amazon-polarity", "--out", "data", "--quiet")
    assert done.returncode == 1
    assert "does not have 3,600,000 (train) and 400,000 (test) reviews" in done.stderr


def test_a_disk_that_is_too_small_is_noticed_before_the_download(hub, small_disk, sentiscale):
    done = sentiscale("fetch", "amazon-polarity", "--out", small_disk / "data", "--quiet")
    assert done.returncode == 1
    assert "MB more, but 0 MB are free" in done.stderr
    assert hub.sent_from == []
