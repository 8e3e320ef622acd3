"""Settings of the service: where they come from, and what is said about impossible ones."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from sentiscale.errors import UsageError
from sentiscale.serving.settings import ServeSettings, resolve_serving
from sentiscale.serving.worker import load_with_card
from tests.cli.conftest import cli
from tests.serving.conftest import write_model

__all__ = ["cli"]


def test_flags_win_over_set_over_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text("[train]\nlr = 1.0\n[serve]\nport = 1\nqueue = 300\nmax_batch = 7\n")
    settings = resolve_serving(
        config=file, overrides=["serve.port=2", "serve.queue=301"], flags={"port": 3, "host": None}
    )
    assert (settings.port, settings.queue, settings.max_batch, settings.host) == (3, 301, 7, "127.0.0.1")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serve.prot=1", "unknown setting 'serve.prot'. Did you mean 'port'? Allowed: host,"),
        ("serve.port=70000", "serve.port is 70000: Input should be less than or equal to 65535"),
        ("serve.queue=3", "queue is 3, but one request may have max_texts = 256"),
        ("serve.max_body_kb=1", "max_characters is 20000, but a body of max_body_kb = 1 cannot hold"),
        ("port=1", "--set got 'port=1'; `serve` accepts only serve.KEY"),
        ("train.lr=1", "--set got 'train.lr=1'; `serve` accepts only serve.KEY"),
    ],
)
def test_impossible_settings_say_what_is_allowed(override, message):
    with pytest.raises(UsageError) as refused:
        resolve_serving(overrides=[override])
    assert message in str(refused.value)


def test_a_settings_file_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError, match="cannot read settings file"):
        resolve_serving(config=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[serve")
    with pytest.raises(UsageError, match="is not valid TOML"):
        resolve_serving(config=tmp_path / "bad.toml")
    (tmp_path / "odd.toml").write_text("serve = 1")
    with pytest.raises(UsageError, match="it must be a table"):
        resolve_serving(config=tmp_path / "odd.toml")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SENTISCALE_API_KEY", raising=False)
    assert ServeSettings().api_key() is None
    monkeypatch.setenv("SENTISCALE_API_KEY", "e" * 16)
    assert ServeSettings().api_key() == b"e" * 16
    file = tmp_path / "key"
    file.write_text("f" * 20 + "\n")
    assert ServeSettings(api_key_file=file).api_key() == b"f" * 20


@pytest.mark.parametrize(("content", "message"), [("short", "5 characters"), ("a b" * 9, "without spaces")])
def test_a_key_that_is_easily_guessed_or_cannot_be_sent_is_refused(tmp_path, content, message):
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(UsageError, match=message):
        ServeSettings(api_key_file=file).api_key()
    with pytest.raises(UsageError, match="cannot read the key file"):
        ServeSettings(api_key_file=tmp_path / "none").api_key()


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(cli, model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli("serve", model, "--port", port)
    assert done.returncode == 2
    assert (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another --port"
        in done.stderr
    )


def test_an_address_that_is_none(cli, model):
    done = cli("serve", model, "--host", "256.1.1.1")
    assert done.returncode == 2
    assert "--host is '256.1.1.1', which is not an address" in done.stderr


def test_json_says_where_it_answers_and_quiet_logs_no_request(model):
    run = model.parent  # a run stands for its model
    command = [sys.executable, "-m", "sentiscale", "serve", run, "--port", "0", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            lines: list[str] = []
            while not lines or lines[-1] != "}\n":
                lines.append(service.stdout.readline())
                assert lines[-1], "it ended"
            said = json.loads("".join(lines))
            assert set(said) == {"url", "model", "digest"}
            with urllib.request.urlopen(f"{said['url']}/v1/model", timeout=120) as answer:
                assert json.load(answer)["digest"] == said["digest"]
            service.terminate()
            rest, log = service.communicate(timeout=120)
        finally:
            service.kill()
    assert rest == ""
    assert '"event": "listening"' in log
    assert '"event": "request"' not in log


def test_a_directory_that_holds_no_model(cli, tmp_path):
    done = cli("serve", tmp_path / "none", "--port", 0)
    assert done.returncode == 3
    assert "is not a model directory: it has no config.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_served_model_keeps_no_page_of_its_file(tmp_path):
    """Who copies a new model over the old file cuts it short for a moment: reading such a page is fatal."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    loaded, _ = load_with_card(write_model(tmp_path / "critic" / "model"))
    assert loaded.vocab.words
    assert str(tmp_path) not in maps.read_text()


def test_the_front_process_does_not_load_torch():
    program = "import sys, sentiscale.serving.server; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
