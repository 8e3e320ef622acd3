"""Who can take part in a comparison: our presets and the peers, what each one does and what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from sentiscale.errors import UsageError, did_you_mean

Recipe = Mapping[str, Any]
SHAPE: Recipe = {"embedding_dim": 128, "hidden_dim": 128, "batch_size": 128, "max_tokens": 400}
"""Of the recurrent peers, and of ours when steps are compared."""

FASTTEXT: Recipe = {"lr": 0.25, "dim": 10, "minCount": 1, "bucket": 2_000_000, "epoch": 5}
"""From fastText's own script for its paper's table (`classification-results.sh`): 0.25 is its rate for some
hundred thousand rows. Its ten million buckets are for millions of rows; with fastText's default, two
million, it is twice as fast on 200,000 reviews and as accurate (0.9144 on validation against 0.9138)."""


@dataclass(frozen=True)
class Contestant:
    """One way to train a classifier."""

    name: str
    """As in `--models`."""
    about: str
    """One line for --help."""
    trainer: str
    """Module of `sentiscale.study.compare.peers` that trains it; `preset` is our own `train`."""
    recipe: Recipe = field(default_factory=dict)
    """A peer's settings, or flags of ours over the preset."""
    preset: str | None = None
    """Of ours: the preset it starts from; None for peers."""
    points: Mapping[str, Recipe] = field(default_factory=lambda: {"": {}})
    """Runs of different length, each on its own: name of the point, and what it changes in the recipe."""
    library: str | None = None
    """What must be importable."""
    extra: str | None = None
    """Which extra of the package installs it."""
    times_steps: bool = False
    """Can also measure the speed of some steps only."""
    only_speed: bool = False
    """Full training takes many hours: never trained to the end, its time is projected."""

    @property
    def is_ours(self) -> bool:
        """Whether it is one of sentiscale's own."""
        return self.trainer == "preset"


def _preset(name: str, about: str) -> Contestant:
    return Contestant(name, about, "preset", preset=name, times_steps=True)


def _alone(cell: str) -> Contestant:
    about = f"sentiscale's {cell.upper()} without the n-gram part"
    flags = {"model.cell": cell, "wide.enabled": False}
    return Contestant(cell, about, "preset", flags, preset="balanced", times_steps=True)


def _fasttext(name: str, about: str, ngrams: int, epochs: Sequence[int]) -> Contestant:
    recipe = {**FASTTEXT, "wordNgrams": ngrams}
    points = {f"{n} epoch{'s' if n > 1 else ''}": {"epoch": n} for n in epochs}
    return Contestant(name, about, "fasttext", recipe, points=points, library="fasttext", extra="compare")


CONTESTANTS: Mapping[str, Contestant] = {
    contestant.name: contestant
    for contestant in (
        _preset("fast", "sentiscale's preset for about a minute"),
        _preset("balanced", "sentiscale's default"),
        _preset("accurate", "sentiscale's preset for the best model"),
        _alone("lstm"),
        _alone("gru"),
        _fasttext("fasttext-unigram", "fastText on single words", 1, (5,)),
        _fasttext("fasttext", "fastText with bigrams, a run each of 1, 2, 5 and 10 epochs", 2, (1, 2, 5, 10)),
        Contestant(
            "tfidf-lr",
            "TF-IDF of words and pairs, logistic regression by SGD",
            "linear",
            {"ngrams": 2, "min_df": 2, "alpha": 1e-6, "passes": 5},
            library="sklearn",
        ),
        Contestant(
            "packed-lstm",
            "PyTorch's LSTM on packed sequences, as in tutorials",
            "packed",
            {**SHAPE, "lr": 1e-3, "epochs": 2},
            library="torch",
            times_steps=True,
        ),
        Contestant(
            "keras-lstm",
            "a Keras LSTM on TensorFlow's CPU build",
            "keras_lstm",
            {**SHAPE, "lr": 1e-3, "epochs": 2},
            library="tensorflow",
            extra="compare-keras",
            times_steps=True,
        ),
        Contestant(
            "classic",
            "the classic 2x512 LSTM, 200 padded tokens; speed only",
            "classic",
            {
                "embedding_dim": 400,
                "hidden_dim": 512,
                "layers": 2,
                "batch_size": 32,
                "max_tokens": 200,
                "lr": 1e-3,
                "epochs": 3,
                "warm_up": 2,
                "steps": 10,
            },
            library="torch",
            times_steps=True,
            only_speed=True,
        ),
    )
}
"""By name, in the order of --help."""


def chosen(names: Sequence[str], *, steps_only: bool = False) -> list[Contestant]:
    """The contestants of these names, all able to take part here.

    Raises: UsageError for an unknown name, a missing library, or one that cannot be timed by steps.
    """
    if not names:
        raise UsageError(f"--models is empty. Allowed: {', '.join(CONTESTANTS)}.")
    for name in names:
        if name not in CONTESTANTS:
            raise UsageError(
                f"no contestant is called '{name}'.{did_you_mean(name, CONTESTANTS)} "
                f"Allowed: {', '.join(CONTESTANTS)}."
            )
    found = [CONTESTANTS[name] for name in dict.fromkeys(names)]
    for contestant in found:
        if contestant.library and find_spec(contestant.library) is None:
            raise UsageError(f"{contestant.name} needs pip install 'sentiscale[{contestant.extra}]'.")
        if steps_only and not contestant.times_steps:
            able = ", ".join(name for name, each in CONTESTANTS.items() if each.times_steps)
            raise UsageError(
                f"{contestant.name} is not trained in steps, so --steps cannot time it. Allowed: {able}."
            )
    return found
