"""Get ready what a study measures beside training; gone again when the study ends."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from sentiscale.bench.engines.beside import Beside
from sentiscale.bench.engines.inputs import raw_files
from sentiscale.bench.engines.predicting import predicting
from sentiscale.bench.engines.preparing import Preparing
from sentiscale.bench.plan import StudyPlan
from sentiscale.bench.runs import Conditions
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import UsageError


@contextmanager
def beside_training(
    data: str | Path,
    out: Path,
    raw: Sequence[str | Path],
    model: str | Path | None,
    workers: Sequence[int] = (),
) -> Iterator[Mapping[str, Beside]]:
    """What else is measured, by kind of case.

    Args:
        data: prepared data, whose test rows are labelled where there are no raw files.
        out: directory of the study; nothing is written there before the first run.
        raw: review files to prepare, and to take texts from; none leaves preparation out.
        model: a model directory or a run; None leaves prediction out.
        workers: how many workers or threads to try; empty is 1, 2, 4, ... up to all cores.

    Raises:
        UsageError: files that not every engine can read.
        DataError: files, model or prepared data that are missing or damaged.
    """
    found: dict[str, Beside] = {}
    with ExitStack() as stack:
        if raw or model is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentiscale-")))
        if raw:
            found["prepare"] = Preparing(stack.enter_context(raw_files(raw, folder)), out, tuple(workers))
        if model is not None:
            labelling = predicting(model, PreparedDataset.open(data), raw, folder, out)
            found["predict"] = replace(labelling, threads=tuple(workers))
        yield found


def attached(
    conditions: Conditions, plan: StudyPlan, beside: Mapping[str, Beside], *, train: bool = True
) -> tuple[Conditions, StudyPlan]:
    """A study of training with what is measured beside it; without training if so wished.

    Raises: UsageError when nothing is left to measure.
    """
    if not (train or beside):
        raise UsageError("--no-train leaves nothing to measure. Add --prepare FILE or --predict MODEL.")
    others = list(beside.values())
    cases = [*(plan.cases if train else []), *(case for each in others for case in each.cases)]
    left_out = [*(plan.left_out if train else []), *(case for each in others for case in each.left_out)]
    both = plan.model_copy(update={"cases": cases, "left_out": left_out})
    return replace(conditions, beside=beside), both
