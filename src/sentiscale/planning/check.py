"""How good are the predictions? They are held against the recorded runs of several ranks on this host."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from sentiscale.measurements import BenchRun
from sentiscale.planning.costs import Setting
from sentiscale.planning.exchange import Cluster
from sentiscale.planning.measured import Measured, costs_of, medians
from sentiscale.planning.simulate import simulate


@dataclass(frozen=True)
class Check:
    """A recorded case, and what would have been predicted for it."""

    layout: str
    """Replicas x stages."""
    batch_size: int
    """Rows of a step over all ranks."""
    measured: float
    """Seconds of a step, median over repeats."""
    predicted: float
    """Seconds of a step, from other cases."""
    scatter: float
    """Of the repeats: half their range over the median."""

    @property
    def stages(self) -> int:
        """Of the layout."""
        return int(self.layout.partition("x")[2])

    @property
    def ranks(self) -> int:
        """Of the layout."""
        return int(self.layout.partition("x")[0]) * self.stages

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1


def checks_of(runs: Sequence[BenchRun], cluster: Cluster) -> list[Check]:
    """Predict every recorded case with several ranks on cores of their own, from serial runs and copies.

    Bytes and the spread of ranks come from such cases themselves; how two stages share the work comes from
    the other batch sizes, where there are any.
    """
    cores = runs[0].host.cores
    found = []
    for each in sorted(medians(runs), key=lambda each: (each.replicas, each.stages, each.case.batch_size)):
        if each.case.kind == "train" and each.replicas * each.stages > 1 and each.case.workers <= cores:
            found.append(_check(each, runs, cluster))
    return found


def _check(each: Measured, runs: Sequence[BenchRun], cluster: Cluster) -> Check:
    costs = costs_of(runs, apart_from=each.case if each.stages > 1 else None)
    parts = int(runs[0].shape.get("micro_batches", Setting.micro_batches))
    setting = Setting(each.replicas, each.stages, each.case.batch_size, parts)
    here = replace(cluster, ranks_per_host=each.case.ranks)
    predicted = simulate(costs, setting, here).seconds
    return Check(each.case.layout, each.case.batch_size, each.step, predicted, each.scatter)


def error_of(checks: Sequence[Check], stages: int) -> float | None:
    """The median size of the errors of layouts with so many stages; None where nothing was checked."""
    sizes = [abs(each.error) for each in checks if each.stages == stages]
    return median(sizes) if sizes else None
