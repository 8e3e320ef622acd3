"""`sentiscale prepare` from the outside: its contract, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

PROMISED = {
    "out",
    "rows",
    "labels",
    "rejected",
    "reject_examples",
    "duplicates",
    "tokens",
    "vocab_size",
    "bytes_in",
    "seconds",
    "mb_per_s",
    "peak_memory_mb",
    "digest",
}
LINES = "".join(
    f"__label__{1 + i % 2} The screen is {'bad' if i % 2 == 0 else 'fine'}, number {'x' * (i % 50)}\n"
    for i in range(100)
)


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.txt"
    path.write_text(LINES)
    return path


def test_json_is_one_document_with_the_promised_keys(sentiscale, reviews, tmp_path):
    done = sentiscale("prepare", reviews, "--out", "data", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) >= PROMISED
    assert set(told["rows"]) == {"train", "valid", "test"}
    assert set(told["labels"]) == {"negative", "positive"}
    assert set(told["rejected"]) == {"total", "by_reason"}
    assert sum(told["rows"].values()) + told["duplicates"] == 100
    assert (tmp_path / "data" / "manifest.json").exists()


def test_flags_settings_file_and_set_reach_the_manifest(cli, reviews, tmp_path):
    (tmp_path / "settings.toml").write_text("[prepare]\nmin_count = 1\nmax_tokens = 9\n")
    done = cli(
        "prepare",
        reviews,
        "--out",
        "data",
        "--config",
        "settings.toml",
        "--set",
        "prepare.max_tokens=7",
        "--clean",
        "alpha",
        "--no-dedupe",
        "--split",
        "0.5,0.25,0.25",
        "--workers",
        1,
        "--quiet",
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "data" / "manifest.json").read_text())["settings"]
    assert (settings["min_count"], settings["max_tokens"], settings["clean"]) == (1, 7, "alpha")
    assert (settings["dedupe"], settings["split"]) == (False, [0.5, 0.25, 0.25])
    assert done.stderr == ""


def test_a_person_gets_a_summary_and_the_next_command(cli, reviews, tmp_path):
    reviews.write_text(LINES + "no label\n")
    done = cli("prepare", reviews, "--out", "data")
    assert "no_label 1; see data/rejects.parquet" in done.stdout
    assert "  no_label 1: " in done.stdout
    assert "reviews.txt:101: no label\n    Fill in the label" in done.stdout
    assert done.stdout.splitlines()[-1] == "next:  sentiscale train data --out run"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["missing.txt", "--out", "data"], 3, "missing.txt does not exist"),
        (["empty.txt", "--out", "data"], 3, "is empty (0 bytes)"),
        (["table.csv", "--text-column", "reveiw", "--out", "data"], 2, "Did you mean 'review'"),
        (["reviews.txt", "--out", "taken"], 2, "exists already"),
        (["reviews.txt", "--out", "data", "--split", "a,b"], 2, "--split is 'a,b'"),
        (["reviews.txt", "--out", "data", "--clean", "hard"], 2, "clean"),
        (["reviews.txt", "--out", "data", "--set", "prepare.min_cuont=3"], 2, "Did you mean 'min_count'"),
        (["reviews.txt", "--out", "data", "--format", "fastetxt"], 2, "format"),
        (["one-class.txt", "--out", "data"], 3, "unclear which class '1' means"),
        (["cut.txt.gz", "--out", "data"], 3, "cut short or damaged"),
    ],
)
def test_mistakes_end_in_one_message_and_a_code(cli, reviews, tmp_path, arguments, code, told):
    import gzip

    (tmp_path / "empty.txt").touch()
    (tmp_path / "table.csv").write_text("label,review\n1,x\n2,y\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "one-class.txt").write_text("__label__1 a\n__label__1 b\n" * 20)
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(LINES.encode())[:-9])
    before = sorted(os.listdir(tmp_path))
    done = cli("prepare", *arguments, "--quiet")
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == before


def test_an_output_that_cannot_be_written(cli, reviews, tmp_path):
    done = cli("prepare", reviews, "--out", "reviews.txt/data")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["reviews.txt"]


def test_several_inputs_globs_and_a_test_set(cli, tmp_path):
    half = LINES.splitlines(keepends=True)
    (tmp_path / "part-1.txt").write_text("".join(half[:40]))
    (tmp_path / "part-2.txt").write_text("".join(half[40:50]))
    (tmp_path / "test.txt").write_text(LINES.replace("number", "no"))
    done = cli("prepare", "part-*.txt", "--test", "test.txt", "--out", "data", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"]["test"] == 100
    assert told["rows"]["train"] + told["rows"]["valid"] == 50


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_stops_cleanly_and_resume_goes_on(cli, tmp_path, number):
    with open(tmp_path / "big.txt", "w") as file:
        for block in range(250):
            file.write(LINES.replace("number", f"part {block} number"))
    arguments = ["prepare", "big.txt", "--out", "data", "--set", "prepare.block_mb=0.02", "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-m", "sentiscale", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        shards = tmp_path / ".data.partial" / "shards"
        deadline = time.monotonic() + 120
        while len(list(shards.glob("*.safetensors")) if shards.exists() else []) < 3:
            assert process.poll() is None, "it ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "--resume" in told
    assert "Traceback" not in told
    assert not (tmp_path / "data").exists()
    done = cli(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    whole = cli("prepare", "big.txt", "--out", "whole", "--json", "--quiet")
    digest = json.loads((tmp_path / "data" / "manifest.json").read_text())["digest"]
    assert digest == json.loads(whole.stdout)["digest"]


def test_a_kill_leaves_no_dataset_and_the_next_run_cleans_up(cli, tmp_path):
    (tmp_path / "big.txt").write_text(LINES * 3000)
    arguments = ["prepare", "big.txt", "--out", "data", "--set", "prepare.block_mb=0.05", "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "sentiscale", *arguments], cwd=tmp_path) as process:
        while not (tmp_path / ".data.partial" / "plan.json").exists():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    assert sorted(os.listdir(tmp_path)) == [".data.partial", "big.txt"]
    (tmp_path / "big.txt").write_text(LINES)
    assert cli(*arguments).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["big.txt", "data"]


def test_real_reviews_with_stars(cli, real_data, tmp_path):
    path = real_data / "reviews-stars.csv.zst"
    done = cli("prepare", path, "--stars-column", "stars", "--out", "data", "--json", "--quiet")
    told = json.loads(done.stdout)
    assert sum(told["rows"].values()) + told["duplicates"] + told["rejected"]["total"] == 60_000
    assert set(told["rejected"]["by_reason"]) == {"neutral"}
