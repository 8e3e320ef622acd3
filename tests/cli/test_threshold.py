"""threshold as a person or a script calls it, on a model whose probabilities are those of the labels."""

import json

import pytest

from tests.inference.test_threshold import labelled, model  # noqa: F401 - fixtures


def test_the_threshold_is_printed_with_intervals_before_and_after(cli, model, labelled):  # noqa: F811
    done = cli("threshold", model, labelled, "--class", "negative", "--recall", "0.6")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("negative: threshold 0.")
    assert [line.split()[0] for line in lines[2:5]] == ["threshold", "without", "with"]
    assert "stored in" in lines[-1]
    assert done.stderr.startswith("note: a hash of the text divides the rows: ")


def test_json_has_the_promised_keys(cli, model, labelled):  # noqa: F811
    done = cli("threshold", model, labelled, "--class", "negative", "--recall", "0.6", "--json", "--no-store")
    document = json.loads(done.stdout)
    assert document.keys() >= {"class", "threshold", "precision", "recall", "rows", "interval"}
    assert document["class"] == "negative"
    low, high = document["interval"]
    assert low < document["recall"] < high
    assert document["interval"] == document["intervals"]["recall"]
    assert document["thresholds"] == {"negative": document["threshold"]}
    assert not document["stored"]
    assert not (model / "thresholds.json").exists()


def test_predict_applies_it_and_it_can_be_cleared(cli, model, labelled):  # noqa: F811
    texts = "".join(line.split(" ", 1)[1] + "\n" for line in labelled.read_text().splitlines())
    assert cli("threshold", model, labelled, "--abstain", "0.6", "--quiet").returncode == 0
    found = cli("predict", model, stdin=texts).stdout
    assert 0 < found.count("unsure\t") < 600
    assert cli("predict", model, "--no-threshold", stdin=texts).stdout.count("unsure\t") == 0
    cleared = cli("threshold", model, "--clear", "--json")
    assert json.loads(cleared.stdout) == {
        **dict.fromkeys(("class", "threshold", "precision", "recall", "rows", "interval")),
        "thresholds": {},
        "abstain": {},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--class", "negatve", "--recall", "0.6"),
            2,
            "Did you mean 'negative'? Classes: 'negative', 'positive'.",
        ),
        (("--class", "negative"), 2, "takes one of --precision X"),
        (("--precision", "0.9"), 2, "add --class NAME"),
        (("--class", "negative", "--recall", "60"), 2, "--recall is 60.0"),
        (
            ("--class", "negative", "--precision", "0.999"),
            1,
            "no threshold gives 'negative' a precision of 0.999",
        ),
    ],
)
def test_mistakes_are_refused_with_the_remedy(cli, model, labelled, arguments, code, message):  # noqa: F811
    before = (model / "config.toml").read_bytes()
    done = cli("threshold", model, labelled, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert (model / "config.toml").read_bytes() == before


def test_labelled_reviews_are_needed(cli, model):  # noqa: F811
    done = cli("threshold", model, "--class", "negative", "--recall", "0.6")
    assert done.returncode == 2
    assert "sentiscale threshold MODEL DATA_OR_FILE" in done.stderr
