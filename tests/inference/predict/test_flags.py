"""`--explain`, and flags that do not go together."""

import json

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def answer(cli, model):
    return lambda *arguments, stdin="good film\nnot a good film, it is awful !\n": cli(
        "predict", model, *arguments, stdin=stdin
    )


def test_explained_lines_follow_the_usual_ones(answer):
    plain = answer("--quiet").stdout.splitlines()
    done = answer("--quiet", "--explain")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[::2] == plain
    assert "film" in lines[1]
    assert "awful" in lines[3]


def test_contributions_add_up_to_the_logit_in_every_form(answer, tmp_path):
    listed = json.loads(answer("--quiet", "--explain", "--json").stdout)["predictions"]
    for name in ("out.jsonl", "out.parquet"):
        assert answer("--explain", "--out", name).returncode == 0
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert (
        [json.loads(line) for line in lines] == listed == pq.read_table(tmp_path / "out.parquet").to_pylist()
    )
    for row, text in zip(listed, ("good film", "not a good film, it is awful !"), strict=True):
        assert row["logit"] == pytest.approx(
            row["base"] + sum(w["contribution"] for w in row["words"]), abs=1e-3
        )
        assert (row["logit"] > 0) == (row["label"] == "positive")
        assert all(text[word["start"] : word["end"]].lower() == word["word"] for word in row["words"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explain", "--out", "x.csv"), "'words' is of type list"),
        (("--resume",), "need --out"),
        (("--scheduler", "tcp://127.0.0.1:1"), "need --out"),
        (("--workers", "0"), "must be at least 1"),
        (("--precision", "fp7"), "precision is fp7"),
        (("-", "more.txt"), "cannot be combined with files"),
        (("--scheduler", "tcp://127.0.0.1:1", "--out", "x.csv"), "folder of Parquet parts"),
        (("--scheduler", "tcp://127.0.0.1:1", "--out", "x"), "a pipe cannot be spread"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(answer, tmp_path, arguments, message):
    done = answer(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
