"""train, evaluate and predict as a person or a script calls them."""

import json
import shutil

import pyarrow.csv
import pyarrow.parquet
import pytest

from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth

FAST = (
    "--set",
    "model.hidden_dim=8",
    "--set",
    "model.embedding_dim=8",
    "--set",
    "wide.bits=12",
    "--epochs",
    "1",
)

TRAIN_KEYS = {
    "run",
    "layout",
    "world_size",
    "threads_per_rank",
    "epochs",
    "steps",
    "train_seconds",
    "rows_per_s",
    "tokens_per_s",
    "flops_utilisation",
    "valid",
    "test",
    "target",
    "peak_memory_mb_per_rank",
    "bytes_reduced_per_step",
    "phases",
}


EVALUATE_KEYS = {
    "sampled_from",
    "short_share",
    "short_accuracy",
    "network_accuracy",
    *("accuracy", "loss", "f1", "precision", "recall", "auc", "ece", "rows", "unsure", "confusion"),
    *("classes", "per_class", "macro_f1", "balanced_accuracy", "majority_share", "mae", "quadratic_kappa"),
    *("binary_accuracy", "intervals", "calibration", "left_out", "left_out_examples", "label_values"),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    synth(1200, 3, out=folder / "reviews.txt")
    prepare(folder / "reviews.txt", folder / "data", workers=1)
    return folder


@pytest.fixture(scope="module")
def model(work):
    from sentiscale import train

    settings = {"model__hidden_dim": 8, "model__embedding_dim": 8, "wide__bits": 12, "epochs": 1}
    return train(work / "data", work / "run", **settings).path / "model"


def test_train_prints_exactly_one_json_document_with_the_promised_keys(sentiscale, work, tmp_path):
    done = sentiscale("train", work / "data", "--out", tmp_path / "run", "--json", *FAST)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document.keys() >= TRAIN_KEYS
    assert document["valid"].keys() >= {"accuracy", "loss", "rows"}
    assert document["test"].keys() >= {"accuracy", "loss", "f1", "auc", "rows"}
    assert document["target"].keys() == {"accuracy", "reached", "seconds"}
    assert document["phases"].keys() >= {"wide", "data", "compute", "reduce", "update", "eval", "checkpoint"}
    assert document["layout"] == "1x1"
    assert 0 < document["flops_utilisation"] < 1.5


def test_train_refuses_bad_flags_with_exit_2_and_the_remedy(cli, work, tmp_path):
    for arguments, message in (
        (("--model", "transformer"), "lstm"),
        (("--preset", "acurate"), "Did you mean 'accurate'"),
        (("--set", "train.epoch=3"), "Did you mean 'epochs'"),
        (("--layout", "400x1"), "needs 400 ranks"),
        (("--epochs", "-1"), "train.epochs is -1"),
    ):
        done = cli("train", work / "data", "--out", tmp_path / "run", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()


def test_train_on_what_is_no_dataset_exits_3(cli, tmp_path):
    done = cli("train", tmp_path / "nothing", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "sentiscale prepare" in done.stderr


def test_a_flipped_byte_in_prepared_data_exits_3(cli, work, tmp_path):
    prepare(work / "reviews.txt", tmp_path / "data", workers=1)
    tokens = tmp_path / "data" / "train" / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[100] ^= 1
    tokens.write_bytes(content)
    done = cli("train", tmp_path / "data", "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "tokens.bin was changed" in done.stderr


def test_one_line_in_one_line_out_in_order(cli, model):
    lines = ["What a joke this is.", "", "superb superb", "x" * 100_000, "caf\u00e9 \U0001f600"]
    done = cli("predict", model, stdin="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    out = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(out) == len(lines)
    assert all(label in {"positive", "negative"} and 0.5 <= float(share) <= 1 for label, share in out)
    alone = cli("predict", model, "-", stdin=lines[2]).stdout
    assert alone.strip() == "\t".join(out[2])


def test_labelled_input_prints_the_accuracy(cli, work, model):
    done = cli("predict", model, work / "reviews.txt", "--labelled")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1200
    scores = json.loads(cli("evaluate", model, work / "reviews.txt", "--json").stdout)
    assert f"accuracy {scores['accuracy']:.4f} on 1,200 rows" in done.stderr


def test_a_line_without_its_label_is_named(cli, model, tmp_path):
    (tmp_path / "in.txt").write_text("__label__1 bad\njust text\n")
    done = cli("predict", model, "in.txt", "--labelled")
    assert done.returncode == 3
    assert "in.txt:2" in done.stderr


def test_predictions_go_to_files_that_are_whole_or_absent(cli, work, model, tmp_path):
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        assert cli("predict", model, work / "reviews.txt", "--out", name).returncode == 0
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column("line").to_pylist() == list(range(1, 1201))
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").column_names == table.column_names
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == table.to_pylist()
    (tmp_path / "bad.txt").write_text("__label__1 bad\nno label\n")
    assert cli("predict", model, "bad.txt", "--labelled", "--out", "never.csv").returncode == 3
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["bad.txt", "out.csv", "out.jsonl", "out.parquet"]


def test_a_table_is_read_by_its_column(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text('id,comment\n1,"good, really\ngood"\n2,bad\n')
    done = cli("predict", model, "in.csv", "--text-column", "comment", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["rows"] == 2
    assert [row["line"] for row in document["predictions"]] == [2, 4]


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz"])
def test_compressed_lines_are_read_and_cut_ones_named(cli, model, tmp_path, suffix):
    import lzma

    import pyarrow as pa

    plain = "".join(f"review number {number}, a good one\r\n" for number in range(3000)).encode()
    kinds = {"gz": "gzip", "zst": "zstd"}
    packed = lzma.compress(plain) if suffix == "xz" else _packed(pa, plain, kinds[suffix])
    (tmp_path / f"in.txt.{suffix}").write_bytes(packed)
    assert len(cli("predict", model, f"in.txt.{suffix}").stdout.splitlines()) == 3000
    (tmp_path / f"cut.txt.{suffix}").write_bytes(packed[: len(packed) // 2])
    done = cli("predict", model, f"cut.txt.{suffix}")
    assert done.returncode == 3
    assert f"cut.txt.{suffix} is cut short or damaged" in done.stderr


def _packed(pa, plain: bytes, kind: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, kind) as stream:
        stream.write(plain)
    return sink.getvalue().to_pybytes()


def test_rows_that_cannot_be_read_are_counted_not_guessed(cli, model, tmp_path):
    (tmp_path / "in.csv").write_text("id,comment\n1,good\n2,too,many,fields\n3,bad\n")
    done = cli("predict", model, "in.csv", "--text-column", "comment", "--json")
    document = json.loads(done.stdout)
    assert (document["rows"], document["rejected"]) == (2, 1)
    assert [row["line"] for row in document["predictions"]] == [2, 4]
    assert "1 rows could not be read" in done.stderr


def test_predict_says_what_is_wrong(cli, model, tmp_path):
    for arguments, code, message in (
        ((model, "missing.txt"), 3, "missing.txt"),
        ((tmp_path, "-"), 3, "not a model directory"),
        ((model, "-", "--out", "x.xlsx"), 2, ".parquet"),
    ):
        done = cli("predict", *arguments, stdin="")
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_causes_no_traceback(model, work):
    import subprocess
    import sys

    command = f"{sys.executable} -m sentiscale predict {model} {work / 'reviews.txt'} --quiet | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_evaluate_counts_every_row_once(cli, work, model):
    document = json.loads(cli("evaluate", model, work / "data", "--split", "train", "--json").stdout)
    assert document.keys() == EVALUATE_KEYS
    assert document["left_out"] == {}
    assert sum(map(sum, document["confusion"])) == document["rows"]
    manifest = json.loads((work / "data" / "manifest.json").read_text())
    assert document["rows"] == manifest["rows"]["train"]


def test_evaluate_says_which_rows_it_leaves_out(cli, model, tmp_path):
    (tmp_path / "few.txt").write_text("__label__2 fine\nnothing here\n__label__1 bad\n\nnor here\n")
    document = json.loads(cli("evaluate", model, "few.txt", "--json").stdout)
    assert (document["rows"], document["left_out"]) == (2, {"no_label": 2})
    assert document["left_out_examples"]["no_label"]["line"] == 2
    done = cli("evaluate", model, "few.txt").stdout
    assert "left out 2 rows" in done
    assert "few.txt:2: nothing here" in done


def test_evaluating_on_the_file_of_the_training_says_so(cli, work, model, tmp_path):
    assert "the scores are too high" in cli("evaluate", model, work / "reviews.txt").stderr
    shutil.copy(work / "reviews.txt", tmp_path / "other.txt")
    assert "flatters" not in cli("evaluate", model, "other.txt").stderr


def test_evaluate_on_data_with_another_vocabulary_agrees_with_the_raw_file(cli, work, model, tmp_path):
    """min_count 1 makes other ids for the same words; only the rows of the valid split are missing."""
    prepare(work / "reviews.txt", tmp_path / "other", min_count=1, split=(0.99, 0.01, 0.0), workers=1)
    by_data = json.loads(cli("evaluate", model, tmp_path / "other", "--split", "train", "--json").stdout)
    by_file = json.loads(cli("evaluate", model, work / "reviews.txt", "--json").stdout)
    missing = by_file["rows"] - by_data["rows"]
    assert 0 < missing < 40
    assert by_data["accuracy"] == pytest.approx(by_file["accuracy"], abs=missing / by_data["rows"])
