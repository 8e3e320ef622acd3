"""Group runs into families. Speedups are computed within a family."""

import json
from collections.abc import Sequence

from sentiscale.records import Host
from sentiscale.study.analysis.fits import fit_laws
from sentiscale.study.analysis.speedup import measured_row, with_speedup
from sentiscale.study.analysis.study import Family, FamilyKey, StudyRow
from sentiscale.study.analysis.wording import DEVICES, axes, phrase
from sentiscale.study.records import BenchRun, Case
from sentiscale.util.numbers import many
from sentiscale.util.templates import Finding, finding

KINDS = ("train", "prepare", "predict")
"""Kinds of families, in the order of the report."""
NOTABLE = 0.02
"""Serial shares that differ by less than this count as equal."""
CLEAR_ORDER = 0.6
"""Absolute rank correlation (Kendall) from which serial shares count as rising or falling."""


def families_of(runs: Sequence[BenchRun]) -> list[Family]:
    """Group all runs into families. Equal records count once, in case a directory was given twice."""
    by_key: dict[FamilyKey, dict[str, list[BenchRun]]] = {}
    for run in {run.model_dump_json(): run for run in runs}.values():
        by_key.setdefault(family_key(run), {}).setdefault(run.case.key, []).append(run)
    return [
        make_family(key, _name(key, list(by_key)), [measured_row(runs) for runs in by_key[key].values()])
        for key in sorted(by_key, key=_order)
    ]


def make_family(key: FamilyKey, name: str, rows: Sequence[StudyRow]) -> Family:
    """Choose a base, compute the speedup of every row over it, and fit the scaling laws."""
    # The base is the plain serial training, or else the case with the fewest cores and the simplest layout.
    base = min(
        (row for row in rows if row.is_comparable),
        key=lambda row: (not row.is_serial, row.workers, *_place(row.case)),
        default=None,
    )
    ordered = sorted(rows, key=lambda row: (row.case.kind == "copies", row is not base, *_place(row.case)))
    if base is not None:
        ordered = [with_speedup(row, base) for row in ordered]
    parallel = [row for row in ordered if row.is_data_parallel]
    has_laws = key.kind == "train" and key.scaling == "strong"
    return Family(
        name=name,
        scaling=key.scaling,
        base=phrase(finding("base", row=base))[0],
        rows=ordered,
        fits=fit_laws({row.workers: row.costs for row in parallel}) if has_laws else [],
        trend=" ".join(phrase(*_trend(parallel))),
        key=key,
    )


def family_key(run: BenchRun) -> FamilyKey:
    case = run.case
    weak = case.scaling == "weak"
    replicas = axes(case)[0] * case.copies
    return FamilyKey(
        kind="train" if case.kind == "copies" else case.kind,
        host=host_name(run.host),
        data=run.data_digest,
        device=case.device,
        scaling=case.scaling,
        engine=case.engine,
        model=case.model,
        precision=case.precision,
        batch_size=case.batch_size // replicas if weak else case.batch_size,
        # In weak scaling, the amount grows with the ranks, so only its unit identifies the family.
        amount=" ".join(sorted(run.amount)) if weak else json.dumps(run.amount, sort_keys=True),
    )


def host_name(host: Host) -> str:
    """Name of a machine by its hardware; load and software do not distinguish machines."""
    gpu = f", {host.gpu}" if host.gpu else ""
    return f"{host.cpu_model}, {many(host.cores, 'core')}, {host.memory_mb / 1024:.0f} GB{gpu}"


def _order(key: FamilyKey) -> tuple[object, ...]:
    """Sort key: LSTM, the default, before GRU; everything else alphabetically or by size."""
    return KINDS.index(key.kind), *key._replace(kind="", model=f"{key.model != 'lstm'}{key.model}")


def _place(case: Case) -> tuple[int, ...]:
    """Sort key of a case within its family: by number of ranks, stages, threads and workers."""
    return case.ranks, axes(case)[1], case.threads_per_rank, case.engine_workers, int(case.collectives)


def _name(key: FamilyKey, others: Sequence[FamilyKey]) -> str:
    """Heading of a family, without the parts that are the same in the whole study."""
    if key.kind == "train":
        rows = many(key.batch_size, "row") + " a step"
        parts = [key.model.upper(), rows + (" and rank, weak scaling" if key.scaling == "weak" else "")]
    else:
        work = {"prepare": "Preparation", "predict": "Prediction"}[key.kind]
        at_once = many(key.batch_size, "row") + " at once" if key.batch_size else ""
        parts = [f"{work} with {key.engine or 'sentiscale'}", key.model.upper(), at_once]
    device = "" if key.device == "cpu" else f"on the {DEVICES.get(key.device, key.device)}"
    alike = [other for other in others if (other.kind, other.scaling) == (key.kind, key.scaling)]
    parts += [key.precision, device]
    if len({other.amount for other in alike}) > 1:
        parts.append(_amount(key.amount))
    if len({other.host for other in alike}) > 1:
        parts.append(key.host)
    if len({other.data for other in alike}) > 1:
        parts.append(f"data {key.data[:8] or 'unknown'}")
    return ", ".join(part for part in parts if part)


def _amount(amount: str) -> str:
    if not amount.startswith("{"):
        return ""
    values = json.loads(amount)
    if "target_accuracy" in values:
        return f"to accuracy {values['target_accuracy']:g}"
    return " ".join(f"{number:,} {unit}" for unit, number in values.items() if isinstance(number, int))


def _trend(rows: Sequence[StudyRow]) -> list[Finding]:
    """Describe how the serial share changes with the number of cores."""
    from scipy.stats import kendalltau

    points = sorted((row.workers, row.karp_flatt) for row in rows if row.karp_flatt is not None)
    if not points:
        return []
    shares = [share for _, share in points]
    spread = max(shares) - min(shares)
    order = kendalltau(*zip(*points, strict=True)).statistic if len(points) > 1 else 0.0
    if len(points) == 1:
        direction = "single"
    elif spread < NOTABLE:
        direction = "constant"
    elif abs(order) >= CLEAR_ORDER:
        direction = "rising" if order > 0 else "falling"
    else:
        direction = "irregular"
    unit = "workers" if rows[0].has_only_times else "cores"
    return [finding("trend", direction=direction, first=points[0], last=points[-1], cores=unit)]
