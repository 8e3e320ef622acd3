"""Training from prepared data to a run directory."""

import json

import pytest
from safetensors.numpy import load_file

import sentiscale
from sentiscale.errors import OutputExistsError, SentiscaleError, UsageError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import read_record
from sentiscale.records import EpochMetrics, RunRecord, read_jsonl
from sentiscale.training.launch import train
from tests.training.conftest import quick


def weights(run):
    return load_file(run / "model" / "weights.safetensors")


def same(first, second) -> bool:
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_run_directory_holds_all_it_promises(dataset, tmp_path, cell):
    record = train(dataset, tmp_path / "run", quick(model__cell=cell))
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        "model",
        "checkpoints",
        "record.json",
        "metrics.jsonl",
        "train.log",
        "plots",
    }
    assert {path.name for path in (run / "plots").iterdir()} == {"curves.png", "curves.svg"}
    assert RunRecord.model_validate_json((run / "record.json").read_bytes()) == record
    assert record.status == "finished"
    assert record.settings["train"]["epochs"] == 1.0
    lines = list(read_jsonl(run / "metrics.jsonl", EpochMetrics))
    assert [line.step for line in lines] == [0, record.steps // 2, record.steps]
    assert record.test["rows"] == dataset.manifest.rows["test"]
    spent = sum(record.phases.model_dump().values())
    assert 0 < spent <= record.train_seconds, "a second was counted twice"


def test_the_recurrent_network_learns_what_the_wide_part_cannot(more_reviews, tmp_path):
    """Word order decides in generated reviews: seen 0.72 for the n-grams, 0.87 with the network."""
    settings = quick(
        model__embedding_dim=32,
        model__hidden_dim=32,
        model__pooling="max",
        train__epochs=4.0,
        train__lr=1.2e-2,
        train__precision="fp32",
    )
    record = train(more_reviews, tmp_path / "run", settings)
    assert record.valid["accuracy"] > record.metrics[0].valid_accuracy + 0.1


def test_training_leaves_the_caller_s_arithmetic_and_threads_as_they_were(dataset, tmp_path):
    import torch

    threads = torch.get_num_threads()
    train(dataset, tmp_path / "run", quick(train__threads_per_rank=threads + 1, train__oversubscribe=True))
    assert torch.get_num_threads() == threads
    assert torch.tensor(1e-310, dtype=torch.float64).mul(0.5).item() > 0, "denormals are still flushed"


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(dataset, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(dataset, tmp_path / name, quick(train__seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_the_saved_model_scores_as_the_record_says(dataset, tmp_path):
    """Through another path: the model directory, raw token rows, another batch size."""
    record = train(dataset, tmp_path / "run", quick(train__precision="fp32"))
    scores = sentiscale.evaluate(tmp_path / "run" / "model", dataset.path)
    assert scores.rows == record.test["rows"]
    assert scores.accuracy == record.test["accuracy"]
    assert scores.loss == pytest.approx(record.test["loss"], abs=1e-5)
    kept = read_record(tmp_path / "run" / "model")["test"]
    assert kept["confusion"] == scores.confusion
    assert sum(bin_["rows"] for bin_ in kept["calibration"]) == scores.rows
    rights = sum(bin_["rows"] * bin_["accuracy"] for bin_ in kept["calibration"])
    assert rights == pytest.approx(scores.accuracy * scores.rows)


def test_the_model_directory_needs_nothing_else(dataset, tmp_path):
    train(dataset, tmp_path / "run", quick())
    moved = (tmp_path / "run" / "model").rename(tmp_path / "moved")
    (tmp_path / "run" / "record.json").unlink()
    assert Predictor.load(moved).predict("What a joke this is.").label in {"positive", "negative"}


def test_the_model_is_that_of_the_best_validation_not_of_the_last(more_reviews, tmp_path):
    """Far too large steps, so that the network falls back after it had been good."""
    settings = quick(
        train__lr=0.05,
        train__epochs=3.0,
        train__schedule="constant",
        train__validate_every=0.2,
        train__precision="fp32",
        wide__enabled=False,
        vectors__enabled=False,
    )
    record = train(more_reviews, tmp_path / "run", settings)
    best = max(record.metrics, key=lambda line: line.valid_accuracy)
    assert best.valid_accuracy > record.metrics[-1].valid_accuracy, "the settings no longer make it fall back"
    assert record.best_step == best.step
    scores = sentiscale.evaluate(tmp_path / "run" / "model", more_reviews.path, split="valid")
    assert scores.accuracy == record.valid["accuracy"] == best.valid_accuracy


def test_without_the_wide_part_only_the_network_is_saved(dataset, tmp_path):
    record = train(dataset, tmp_path / "run", quick(wide__enabled=False))
    assert all(name.startswith("net.") for name in weights(tmp_path / "run"))
    assert record.phases.wide == 0


def test_training_stops_at_the_target(dataset, tmp_path):
    record = train(dataset, tmp_path / "run", quick(train__target_accuracy=0.6, train__epochs=50.0))
    assert record.target["reached"]
    assert record.target["seconds"] <= record.train_seconds
    assert record.valid["accuracy"] >= 0.6
    assert record.epochs < 50


def test_an_unreached_target_is_said_to_be_so(dataset, tmp_path):
    record = train(dataset, tmp_path / "run", quick(train__target_accuracy=1.0))
    assert record.target == {"accuracy": 1.0, "reached": False, "seconds": None}


def test_training_stops_at_the_time_limit_with_a_usable_model(dataset, tmp_path):
    record = train(dataset, tmp_path / "run", quick(train__time_limit=1e-3, train__epochs=50.0))
    assert record.status == "finished"
    assert record.epochs < 50
    assert Predictor.load(tmp_path / "run" / "model").predict(["good", "bad"])


def test_training_stops_when_nothing_gets_better(dataset, tmp_path):
    record = train(dataset, tmp_path / "run", quick(train__patience=2, train__lr=1e-9, train__epochs=50.0))
    assert record.epochs < 50
    assert "no improvement for 2 validations" in (tmp_path / "run" / "train.log").read_text()


def test_divergence_is_explained_and_leaves_a_record(dataset, tmp_path):
    with pytest.raises(SentiscaleError, match=r"diverged.*lower --lr"):
        train(dataset, tmp_path / "run", quick(train__lr=1e38, train__max_norm=None, wide__enabled=False))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "failed"
    assert "diverged" in record["failure"]


def test_an_existing_run_is_not_overwritten_unless_forced(dataset, tmp_path):
    train(dataset, tmp_path / "run", quick())
    before = (tmp_path / "run" / "record.json").read_bytes()
    with pytest.raises(OutputExistsError, match="--resume"):
        train(dataset, tmp_path / "run", quick())
    assert (tmp_path / "run" / "record.json").read_bytes() == before
    train(dataset, tmp_path / "run", quick(), force=True)


def test_force_does_not_delete_what_is_no_run(dataset, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not a run directory"):
        train(dataset, tmp_path / "thesis", quick(), force=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train__layout": "99x1"}, "needs 99 ranks"),
        ({"train__layout": "1x3"}, "3 stages"),
        ({"train__layout": "two"}, "DATAxMODEL"),
        ({"train__threads_per_rank": 99}, "--threads-per-rank"),
        ({"train__device": "cuda"}, "sees no GPU"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(dataset, tmp_path, change, message):
    import torch

    if change.get("train__device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so --device cuda works")
    with pytest.raises(UsageError, match=message):
        train(dataset, tmp_path / "run", quick(**change))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_the_run_with_one_message_and_nothing_half_written(dataset, small_disk):
    with pytest.raises(SentiscaleError, match="No space left on device"):
        train(dataset, small_disk / "run", quick(wide__bits=16))
    assert not list(small_disk.rglob("*.tmp"))
    assert not list(small_disk.rglob("step-*"))


def test_real_reviews_are_learnt(real_data, tmp_path):
    """2,000 real reviews: far from enough for a good model, enough to be clearly better than chance."""
    data = sentiscale.prepare(real_data / "sample-2000.ft.txt", tmp_path / "data", workers=1)
    run = sentiscale.train(data, tmp_path / "run", epochs=1, model__hidden_dim=16, model__embedding_dim=16)
    assert run.record.valid["accuracy"] > 0.75


def test_the_python_interface_mirrors_the_flags(dataset, tmp_path):
    settings = {"model": "gru", "epochs": 1, "wide": False, "model__hidden_dim": 8}
    run = sentiscale.train(dataset, tmp_path / "run", **settings, train__max_tokens=32)
    assert run.record.settings["model"]["cell"] == "gru"
    assert run.record.settings["model"]["hidden_dim"] == 8
    assert run.predict("Not bad at all!").label in {"positive", "negative"}
    assert len(run.predict(["one", "two"])) == 2
    with pytest.raises(UsageError, match="Did you mean 'epochs'"):
        sentiscale.train(dataset, tmp_path / "other", epoch=1)
