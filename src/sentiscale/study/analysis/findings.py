"""Findings of a study about layouts, models, precisions, batch sizes, devices and engines."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from sentiscale.study.analysis.fits import AMDAHL, STRETCH, USL, speedup_range
from sentiscale.study.analysis.recommendation import best_case, main_family
from sentiscale.study.analysis.speedup import times_as_fast
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.study.analysis.wording import DEVICES, axes
from sentiscale.util.templates import Finding, finding

WELL_USED = 0.7
"""Efficiency above which two stages count as dividing the time."""
WELL_DIVIDED = 0.8
"""Peak memory of a stage, relative to one process, up to which two stages count as dividing the memory."""
MOST_SHOWN = 4
LARGER_MACHINES = (16, 32, 64, 128)
"""Common numbers of cores; the first one beyond the trusted range of the law is mentioned in the report."""


def findings_of(families: Sequence[Family]) -> Iterator[Finding]:
    """Yield all findings of a study, the most important first."""
    trained = [family for family in families if family.key.kind == "train"]
    main = main_family(trained)
    if main:
        yield from _threads(main)
        yield from _ceiling(main)
        yield from _one_rank(main)
        yield from _stages(main)
        yield from _exchange(main)
        if main.scaling == "weak":
            yield finding("weak_scaling")
    yield from _devices(trained)
    yield from _batch_sizes(trained)
    yield from _models(trained)
    yield from _precisions(trained)
    for family in trained:
        if reached := [row for row in family.rows if row.accuracy is not None]:
            yield finding("time_to_accuracy", family=family, rows=reached)
    for kind in ("prepare", "predict"):
        yield from _engines([family for family in families if family.key.kind == kind], kind)
    if main:
        yield _more_cores(main)
        if all(family.key.device == "cpu" for family in trained):
            yield _gpu(trained)


def _parallel(family: Family) -> list[StudyRow]:
    """Comparable trainings on more than one core, the fastest first."""
    rows = [row for row in family.trainings if row.is_comparable and row.speedup and row.workers > 1]
    return sorted(rows, key=lambda row: row.cost)


def _threads(family: Family) -> Iterator[Finding]:
    """Compare the fastest layout with several ranks and the fastest single process with several threads."""
    rows = _parallel(family)
    threads = next((row for row in rows if row.case.ranks == 1), None)
    ranks = next((row for row in rows if row.case.ranks > 1), None)
    if threads is None or ranks is None:
        return
    ratio = times_as_fast(ranks, threads)
    yield finding(
        "ranks_or_threads",
        ranks=ranks,
        threads=threads,
        base=family.base_name,
        faster="ranks" if ratio.value > 1 else "threads",
        ratio=ratio if ratio.value > 1 else ratio.inverse,
    )


def _ceiling(family: Family) -> Iterator[Finding]:
    """Compare the fastest parallel layout with the same number of independent copies."""
    rows = [
        row for row in family.rows if row.case.kind == "copies" and row.speedup and not row.oversubscribed
    ]
    if not rows:
        return
    copies = sorted(rows, key=lambda row: row.workers)[-1]
    rivals = [row for row in _parallel(family) if row.workers == copies.workers and row.case.ranks > 1]
    best = rivals[0] if rivals else None
    share = times_as_fast(best, copies) if best else None
    yield finding("ceiling", copies=copies, base=family.base_name, best=best, share=share)


def _one_rank(family: Family) -> Iterator[Finding]:
    """Cost of the gradient exchange with a single rank."""
    base = family.base_row
    rows = [row for row in family.rows if row.case.kind == "train" and row.case.collectives]
    alone = next((row for row in rows if row.workers == 1 and row.speedup and not row.has_only_times), None)
    if alone is None or not alone.speedup or base is None or not base.is_serial:
        return
    ends = alone.speedup_ci95
    if ends and ends[0] <= 1 <= ends[1]:
        yield finding("exchange_is_free", row=alone)
        return
    extra = 1 / alone.speedup - 1
    spread = sorted(abs(1 / end - 1) for end in ends) if ends else None  # both on the same side of 1
    yield finding("exchange_costs", extra=extra, spread=spread)


def _stages(family: Family) -> Iterator[Finding]:
    rows = [row for row in _parallel(family) if axes(row.case)[0] == 1 and axes(row.case)[1] > 1]
    if not rows:
        return
    staged, alone = rows[0], family.base_row.peak_memory if family.base_row else 0.0
    yield finding(
        "model_parallel",
        row=staged,
        base=family.base_name,
        alone=alone if staged.peak_memory else 0.0,
        divides_memory=staged.peak_memory <= WELL_DIVIDED * alone,
        divides_time=(staged.efficiency or 0.0) > WELL_USED,
    )


def _exchange(family: Family) -> Iterator[Finding]:
    rows = [row for row in _parallel(family) if row.waiting_share is not None and row.case.ranks > 1]
    if rows:
        yield finding("exchange", rows=rows[:MOST_SHOWN])


def _together(families: Sequence[Family], **neglected: object) -> list[list[Family]]:
    """Groups of at least two families whose keys differ only in the neglected fields."""
    found: dict[object, list[Family]] = {}
    for family in families:
        found.setdefault(family.key._replace(**neglected), []).append(family)  # type: ignore[arg-type]
    return [alike for alike in found.values() if len(alike) > 1]


def _same_case(family: Family, other: Family) -> tuple[StudyRow, StudyRow] | None:
    """The best case of `family` and the same case of `other`; failing that, the base of `family`.

    None if `other` contains neither case.
    """
    best = best_case(family)
    for row in (best.taken if best else None, family.base_row):
        twin = next((one for one in other.rows if row and _identity(one) == _identity(row)), None)
        if row and twin and row.is_complete and twin.is_complete:
            return row, twin
    return None


def _identity(row: StudyRow) -> tuple[object, ...]:
    case = row.case
    return case.kind, case.layout, case.threads_per_rank, case.collectives, case.copies


def _devices(families: Sequence[Family]) -> Iterator[Finding]:
    """Compare the best cases on CPU and GPU. The machines may differ, but the work must be the same."""
    for alike in _together(families, device="", host=""):
        best: dict[str, StudyRow] = {}
        for family in alike:
            if found := best_case(family):
                device = family.key.device
                best[device] = min(best.get(device, found.taken), found.taken, key=lambda row: row.cost)
        cpu = best.pop("cpu", None)
        if cpu is None:
            continue
        for device, row in best.items():
            name = DEVICES.get(device, device)
            ratio = times_as_fast(row, cpu)
            yield finding("device", device=name, key=alike[0].key, ratio=ratio, cpu=cpu)


def _batch_sizes(families: Sequence[Family]) -> Iterator[Finding]:
    found = []
    for alike in _together(families, batch_size=0):
        rates = [(family.key.batch_size, rows) for family in alike if (rows := _base_and_best(family))]
        if len(rates) > 1:
            found.append({"key": alike[0].key, "rates": rates})
    for values in found:
        yield finding("batch_sizes", **values, is_last=values is found[-1])


def _base_and_best(family: Family) -> list[StudyRow]:
    best, base = best_case(family), family.base_row
    if best is None or base is None or not base.rows_per_s:
        return []
    return [base] if best.taken is base else [base, best.taken]


def _models(families: Sequence[Family]) -> Iterator[Finding]:
    """Compare each pair of models in all settings that both were measured in."""
    found: dict[tuple[str, str], list[tuple[object, int, str]]] = {}
    for alike in _together(families, model=""):
        for one, other in combinations(alike, 2):
            if pair := _same_case(one, other):
                slow, fast = sorted(zip(pair, (one, other), strict=True), key=lambda entry: -entry[0].cost)
                names = (fast[1].key.model.upper(), slow[1].key.model.upper())
                ratio = times_as_fast(fast[0], slow[0])
                found.setdefault(names, []).append((ratio, fast[1].key.batch_size, fast[0].name))
    for (faster, slower), ratios in found.items():
        yield finding("models", fast=faster, slow=slower, ratios=ratios)


def _precisions(families: Sequence[Family]) -> Iterator[Finding]:
    for alike in _together(families, precision=""):
        plain = next((family for family in alike if family.key.precision == "fp32"), alike[0])
        for other in alike:
            pair = _same_case(plain, other) if other is not plain else None
            if pair:
                yield finding(
                    "precision",
                    precision=other.key.precision,
                    plain=plain.key.precision,
                    name=plain.name.replace(f", {plain.key.precision}", ""),
                    ratio=times_as_fast(pair[1], pair[0]),
                    before=pair[0],
                    after=pair[1],
                )


def _engines(families: Sequence[Family], kind: str) -> Iterator[Finding]:
    """Compare the best case of each engine of preparation or prediction, the fastest first."""
    found: dict[object, list[Family]] = {}
    for family in families:
        found.setdefault(family.key._replace(engine="", batch_size=0), []).append(family)
    for alike in found.values():
        timed = [[row for row in family.rows if row.is_comparable and row.rows_per_s] for family in alike]
        best = sorted(
            (min(rows, key=lambda row: row.cost) for rows in timed if rows), key=lambda row: row.cost
        )
        if not best:
            continue
        engines = {row.case.engine for row in best}
        yield finding(
            "engines",
            kind=kind,
            rows=best,
            engines=len(engines),
            ahead=[
                (times_as_fast(best[0], row), row.case.engine)
                for row in best
                if row.case.engine != best[0].case.engine
            ],
            unlike_work=kind == "prepare" and {"sentiscale"} < engines,
        )


def _more_cores(family: Family) -> Finding:
    """Speedup at twice the measured number of cores, as predicted by the fitted law."""
    fits = {fit.model: fit for fit in family.fits}
    fit = fits[USL] if USL in fits and not fits[USL].caveat else fits.get(AMDAHL)
    if fit is None or family.base_row is None:
        return finding("no_law")
    limit = fit.trusted_up_to
    middle, ends = speedup_range(fit, limit, family.base_row.workers)
    return finding(
        "more_cores",
        fit=fit,
        counts=sorted({row.workers for row in family.rows if row.is_data_parallel}),
        speedup=middle,
        ends=ends,
        base=family.base_name,
        stretch=STRETCH,
        beyond=next((cores for cores in LARGER_MACHINES if cores > limit), None),
        has_maximum=fit.best_workers is not None and fit.best_workers <= limit,
    )


def _gpu(families: Sequence[Family]) -> Finding:
    """The throughput that a GPU would have to exceed, for studies without a GPU."""
    rows = [
        (row.rows_per_s, row.name, family.name)
        for family in families
        for row in family.rows
        if row.is_candidate and row.rows_per_s
    ]
    return finding("gpu", fastest=max(rows, default=None))
