"""How long a study will take: a guess before anything has run, then what its own runs took."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from sentiscale.bench.interference import LOOK_SECONDS
from sentiscale.bench.plan import Amount
from sentiscale.measurements import BenchRun, Case
from sentiscale.records import available_cores

START_SECONDS = 1.8
"""From starting a process to its first step: most of it loads libraries, and keeps a core busy."""

END_SECONDS = 0.3
ROWS_PER_SECOND = {"lstm": 2200.0, "gru": 1200.0}
"""Of one core of a server, with the default model."""

WARM_UP_SHARE = 0.7
"""Of the timed steps' time: a step for each length."""


def guess(case: Case, amount: Amount) -> float | None:
    """Seconds of one run, from usual speeds; None beside training, and where that goes on until a target."""
    if amount.target_accuracy is not None or case.kind in ("prepare", "predict"):
        return None
    cores = min(case.workers, available_cores())
    rows = amount.steps_of(case) * case.batch_size
    steps = rows / ROWS_PER_SECOND.get(case.model, 1200.0) / (0.85 * cores if cores > 1 else 1.0)
    loading = START_SECONDS * max(1.0, case.ranks / available_cores())
    return loading + (1 + WARM_UP_SHARE) * steps + END_SECONDS + LOOK_SECONDS


class Pace:
    """What runs have taken so far, by case."""

    def __init__(self, amount: Amount) -> None:
        self.amount = amount
        self._taken: defaultdict[str, list[float]] = defaultdict(list)
        self._ratios: list[float] = []

    def learn(self, case: Case, seconds: float) -> None:
        """Note what a run took, with all around it."""
        self._taken[case.key].append(seconds)
        if guessed := guess(case, self.amount):
            self._ratios.append(seconds / guessed)

    def learn_from(self, runs: Iterable[BenchRun]) -> None:
        """The same from records of an earlier go."""
        for run in runs:
            spent = run.start_seconds + run.warm_up_seconds + run.seconds
            self.learn(run.case, spent + END_SECONDS + LOOK_SECONDS)

    def of(self, cases: Sequence[Case]) -> float | None:
        """Seconds that these runs will take; None where that cannot be told yet."""
        found = [self._one(case) for case in cases]
        known = [seconds for seconds in found if seconds is not None]
        if not known and cases:
            return None
        return sum(known) * len(cases) / max(len(known), 1)

    def _one(self, case: Case) -> float | None:
        if taken := self._taken.get(case.key):
            return fmean(taken)
        guessed = guess(case, self.amount)
        if guessed is None:
            return fmean(map(fmean, self._taken.values())) if self._taken else None
        return guessed * (fmean(self._ratios) if self._ratios else 1.0)
