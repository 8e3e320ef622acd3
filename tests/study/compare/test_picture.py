"""The picture of a comparison."""

import itertools
import xml.etree.ElementTree as ET

import pytest

from sentiscale.study.compare.picture import OURS, _draw, plot
from sentiscale.study.compare.summary import curves_of
from tests.study.compare.made import run

CURVE = ((1.0, 0.5), (20.0, 0.93), (40.0, 0.935), (60.0, 0.94))


@pytest.fixture
def runs():
    """Four contestants that end close to each other."""
    return [
        *(run("fast", seed, 40 + seed, 0.931 + seed / 1000, curve=CURVE[:3]) for seed in range(3)),
        *(run("lstm", seed, 60 + seed, 0.932, curve=CURVE) for seed in range(3)),
        run("tfidf-lr", 0, 45, 0.9312),
        *(run("fasttext", 0, 5.0 * n, 0.9 + n / 500, point=f"{n} epochs") for n in (2, 5, 10)),
    ]


def test_every_contestant_is_named_in_the_picture(runs, tmp_path):
    path = plot(runs, tmp_path / "picture.svg")
    written = {element.text for element in ET.parse(path).iter() if element.tag.endswith("text")}
    assert {"fast", "lstm", "tfidf-lr", "fasttext"} <= written


def test_picture_changes_its_colours_on_dark_ground_and_needs_no_other_file(runs, tmp_path):
    text = plot(runs, tmp_path / "picture.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    (light, dark), *_ = OURS
    assert f'[style*="stroke: {light}"]{{stroke:{dark} !important}}' in text
    assert f"stroke: {light}" in text.split("</style>", 1)[1], "the rule must meet what matplotlib writes"
    assert "<image" not in text
    assert "url(http" not in text


def test_same_runs_give_the_same_file(runs, tmp_path):
    first, again = (plot(runs, tmp_path / f"{n}.svg").read_bytes() for n in (1, 2))
    assert first == again


def test_names_do_not_cover_each_other(runs):
    figure = _draw(curves_of(runs))
    figure.draw_without_rendering()
    boxes = [note.get_window_extent() for note in figure.axes[0].texts]
    assert len(boxes) >= 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_without_trained_runs_there_is_no_picture(tmp_path):
    assert plot([run("classic", 0, None, None, rows_per_s=3.0)], tmp_path / "picture.svg") is None
    assert list(tmp_path.iterdir()) == []
