"""What `--track` takes, and what is said where it cannot work."""

import importlib.util
import re

import pytest

from sentiscale.config import TrackSettings, resolve
from sentiscale.errors import UsageError
from sentiscale.tracking.tracker import RunTrackers, TrackedRun, check_trackers, scores_of, settings_of
from sentiscale.training.run_directory import RunDir
from tests.cli.conftest import cli

__all__ = ["cli"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("mlflow", ("mlflow",)),
        ("tensorboard, mlflow", ("tensorboard", "mlflow")),
        ("none", ()),
        ("mlflow,mlflow", ("mlflow",)),
        ("", ()),
    ],
)
def test_names_with_commas_between(given, taken):
    assert resolve(flags={"track.to": given}).track.to == taken
    assert resolve(overrides=[f"track.to={given or 'none'}"]).track.to == taken


def test_unknown_tracker_is_refused_before_anything_is_written(cli, dataset, tmp_path):
    done = cli("train", dataset.path, "--out", tmp_path / "run", "--track", "wandb")
    assert done.returncode == 2
    assert "'mlflow' or 'tensorboard'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("uri", ["http://me:secret@host:5000", "https://me@host/path"])
def test_no_password_gets_into_the_settings_of_a_run(uri):
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        resolve(flags={"track.mlflow_uri": uri})
    assert "secret" not in str(refused.value)
    assert resolve(flags={"track.mlflow_uri": "http://host/a@b"}).track.mlflow_uri == "http://host/a@b"


def test_names_of_classes_are_no_names_of_settings_and_scores(followed_run):
    """A class may be called anything; MLflow refuses most characters in a name."""
    record = RunDir(followed_run).read_record()
    settings = record.settings | {"train": record.settings["train"] | {"class_weight": {"so so?": 2.0}}}
    test = record.test | {"per_class": {"so so?": {"f1": 0.5}}}
    record = record.model_copy(update={"settings": settings, "test": test})
    assert settings_of(record)["train.class_weight"] == '{"so so?": 2.0}'
    names = [*settings_of(record), *scores_of(record)]
    assert "test.macro_f1" in names
    assert all(re.fullmatch(r"[\w.]+", name) for name in names)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="MLflow is installed here")
def test_a_missing_library_is_named_before_any_work(cli, dataset, tmp_path):
    done = cli("train", dataset.path, "--out", tmp_path / "run", "--track", "mlflow")
    assert done.returncode == 2
    assert "pip install 'sentiscale[mlflow]'" in done.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="--track mlflow"):
        check_trackers(TrackSettings(to=("mlflow",)))


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="MLflow is installed here")
def test_a_broken_installation_costs_a_warning(followed_run, tmp_path, monkeypatch):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("raise RuntimeError('libmlflow is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    record, told = RunDir(followed_run).read_record(), []
    following = RunTrackers(TrackSettings(to="mlflow"), TrackedRun(tmp_path, record, None), told.append)
    following.metrics(record.metrics[0])
    following.end(record)
    assert told == ["warning: mlflow cannot be loaded and will not record this run: libmlflow is missing"]
