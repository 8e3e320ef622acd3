"""Contestants of a comparison: presets of sentiscale and peers, with their recipes and requirements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from sentiscale.errors import UsageError, did_you_mean

Recipe = Mapping[str, Any]
RECURRENT: Recipe = {"embedding_dim": 128, "hidden_dim": 128, "batch_size": 128, "max_tokens": 400}
"""Shape of the recurrent peers, and of sentiscale if only steps are timed."""

FASTTEXT: Recipe = {"lr": 0.25, "dim": 10, "minCount": 1, "bucket": 2_000_000, "epoch": 5}
"""Settings of fastText's script for the table in its paper (`classification-results.sh`), which uses a
learning rate of 0.25 for a few hundred thousand rows. The script uses ten million buckets, for millions of
rows. With two million, fastText's default, training on 200,000 reviews is twice as fast and as accurate
(0.9144 against 0.9138 on validation)."""

CLASSIC: Recipe = {
    "embedding_dim": 400,
    "hidden_dim": 512,
    "layers": 2,
    "batch_size": 32,
    "max_tokens": 200,
    "lr": 1e-3,
    "epochs": 3,
    "warm_up": 2,
    "steps": 10,
}

PEERS = "sentiscale.study.compare.peers"


@dataclass(frozen=True)
class Contestant:
    """One way to train a classifier."""

    name: str
    """Name in `--models`."""
    about: str
    """Description for --help, in one line."""
    trainer: str
    """Function that trains it, as `module:function`; called as `function(task, folder)` in a fresh
    process."""
    recipe: Recipe = field(default_factory=dict)
    """Settings of a peer, or flags of sentiscale that override the preset."""
    preset: str | None = None
    """Preset of sentiscale; None for peers."""
    points: Mapping[str, Recipe] = field(default_factory=lambda: {"": {}})
    """Separate runs of different length: name of each point, and its changes to the recipe."""
    library: str | None = None
    """Module that must be importable."""
    extra: str | None = None
    """Extra of the sentiscale package that installs the library."""
    times_steps: bool = False
    """Whether it supports timing a number of steps instead of training to the end."""
    only_speed: bool = False
    """Whether only its speed is measured and its training time is projected, as training takes many hours."""


def _preset(name: str, about: str) -> Contestant:
    return Contestant(name, about, f"{PEERS}.preset:train", preset=name, times_steps=True)


def _network(cell: str) -> Contestant:
    about = f"sentiscale's {cell.upper()} without the n-gram part"
    flags = {"model.cell": cell, "wide.enabled": False}
    return Contestant(cell, about, f"{PEERS}.preset:train", flags, preset="balanced", times_steps=True)


def _fasttext(name: str, about: str, ngrams: int, epochs: Sequence[int]) -> Contestant:
    recipe = {**FASTTEXT, "wordNgrams": ngrams}
    points = {f"{n} epoch{'s' if n > 1 else ''}": {"epoch": n} for n in epochs}
    trainer = f"{PEERS}.fasttext:train"
    return Contestant(name, about, trainer, recipe, points=points, library="fasttext", extra="compare")


def _peer(name: str, about: str, trainer: str, recipe: Recipe, library: str, **more: Any) -> Contestant:
    return Contestant(name, about, f"{PEERS}.{trainer}", recipe, library=library, **more)


ALL = (
    _preset("fast", "sentiscale's preset for about a minute"),
    _preset("balanced", "sentiscale's default"),
    _preset("accurate", "sentiscale's preset for the best model"),
    _network("lstm"),
    _network("gru"),
    _fasttext("fasttext-unigram", "fastText on single words", 1, (5,)),
    _fasttext("fasttext", "fastText with bigrams, a run each of 1, 2, 5 and 10 epochs", 2, (1, 2, 5, 10)),
    Contestant(
        "fasttext-tuned",
        "fastText with bigrams, a run each of three settings",
        f"{PEERS}.fasttext:train",
        {**FASTTEXT, "wordNgrams": 2},
        points={
            f"lr {lr:g}, {epoch} epochs": {"lr": lr, "epoch": epoch}
            for lr, epoch in ((0.1, 10), (0.25, 5), (0.5, 5))
        },
        library="fasttext",
        extra="compare",
    ),
    _peer(
        "tfidf-lr",
        "TF-IDF of words and pairs, logistic regression by SGD",
        "linear:train",
        {"ngrams": 2, "min_df": 2, "alpha": 1e-6, "passes": 5},
        "sklearn",
    ),
    _peer(
        "tfidf-multinomial",
        "TF-IDF, multinomial logistic regression, C = 3 and 10",
        "linear:train",
        {"ngrams": 2, "min_df": 2, "passes": 1000, "tol": 1e-3},
        "sklearn",
        points={f"C = {c}": {"C": c} for c in (3, 10)},
    ),
    _peer(
        "packed-lstm",
        "PyTorch's LSTM on packed sequences, as in tutorials",
        "torch_lstm:train_packed",
        {**RECURRENT, "lr": 1e-3, "epochs": 2},
        "torch",
        times_steps=True,
    ),
    _peer(
        "keras-lstm",
        "a Keras LSTM on TensorFlow's CPU build",
        "keras_lstm:train",
        {**RECURRENT, "lr": 1e-3, "epochs": 2},
        "tensorflow",
        extra="compare-keras",
        times_steps=True,
    ),
    _peer(
        "classic",
        "the classic 2x512 LSTM, 200 padded tokens; speed only",
        "torch_lstm:time_classic",
        CLASSIC,
        "torch",
        times_steps=True,
        only_speed=True,
    ),
)
CONTESTANTS: Mapping[str, Contestant] = {contestant.name: contestant for contestant in ALL}
"""By name, in the order of --help."""


def chosen(names: Sequence[str], *, steps_only: bool = False) -> list[Contestant]:
    """Look up contestants by name, without duplicates.

    Raises: UsageError if a name is unknown, a library is missing, or `steps_only` is set and a contestant
        cannot be timed by steps.
    """
    if not names:
        raise UsageError(f"--models is empty. Allowed: {', '.join(CONTESTANTS)}.")
    for name in names:
        if name not in CONTESTANTS:
            raise UsageError(
                f"no contestant is called '{name}'.{did_you_mean(name, CONTESTANTS)} "
                f"Allowed: {', '.join(CONTESTANTS)}."
            )
    contestants = [CONTESTANTS[name] for name in dict.fromkeys(names)]
    for contestant in contestants:
        if contestant.library and find_spec(contestant.library) is None:
            raise UsageError(f"{contestant.name} needs pip install 'sentiscale[{contestant.extra}]'.")
        if steps_only and not contestant.times_steps:
            able = ", ".join(each.name for each in ALL if each.times_steps)
            raise UsageError(
                f"{contestant.name} is not trained in steps, so --steps cannot time it. Allowed: {able}."
            )
    return contestants
