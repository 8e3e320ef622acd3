"""Learning curves: both files are written, say what they show and are the same for the same run."""

import xml.etree.ElementTree as ET

import pytest

from sentiscale.records import EpochMetrics
from sentiscale.training.curves import plot_curves


def run_metrics(validations: int) -> list[EpochMetrics]:
    """A run that starts from a fitted wide part, learns, and overfits a little at its end."""
    return [
        EpochMetrics(
            epoch=k / 4,
            step=400 * k,
            seconds=25.0 + 60.0 * k,
            train_loss=0.25 * 0.9**k if k else None,
            valid_accuracy=0.925 + 0.008 * (1 - 0.7**k) - 0.0004 * max(0, k - 6),
            valid_loss=0.20 - 0.02 * (1 - 0.7**k) + 0.002 * max(0, k - 6),
            learning_rate=1e-3,
        )
        for k in range(validations)
    ]


def texts(path) -> str:
    """All that is written in an SVG; matplotlib keeps it as comments beside the outlines."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    return " ".join(node.text or "" for node in ET.parse(path, parser).iter())


def test_both_files_are_written(tmp_path):
    plot_curves(run_metrics(9), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "curves.svg"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_axes_have_names_and_units_and_the_title_the_result(tmp_path):
    metrics = run_metrics(5)
    plot_curves(metrics, tmp_path)
    found = texts(tmp_path / "curves.svg")
    for text in (
        "time since training began (s)",
        "optimizer steps",
        "validation accuracy (%)",
        "cross-entropy loss (nats per review)",
        "training",
        "validation",
    ):
        assert text in found
    best = max(point.valid_accuracy for point in metrics)
    assert f"Best validation accuracy {100 * best:.2f} % at step 1,600, after 265 s" in found


def test_same_run_gives_the_same_file(tmp_path):
    contents = []
    for _ in range(2):
        plot_curves(run_metrics(3), tmp_path)
        contents.append((tmp_path / "curves.svg").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("validations", [1, 2])
def test_short_runs_are_drawn_too(tmp_path, validations):
    plot_curves(run_metrics(validations), tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_run_without_validation_writes_nothing(tmp_path):
    plot_curves([], tmp_path)
    assert list(tmp_path.iterdir()) == []
