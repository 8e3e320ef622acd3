"""Sort cases into families within which a speedup means something, and work each family out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sentiscale.records import Host
from sentiscale.study.analysis.fits import fit_laws
from sentiscale.study.analysis.speedup import Measured, measured, row_of
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.study.analysis.words import DEVICES, axes, called, figure, is_bare, many
from sentiscale.study.records import BenchRun, Case

KINDS = ("train", "prepare", "predict")


class Setting(NamedTuple):
    """What all cases of a family have in common; its order is the order of the report."""

    kind: int
    """Place in KINDS."""
    host: str
    data: str
    device: str
    scaling: str
    engine: str
    model: str
    precision: str
    batch_size: int
    """Rows of a step; in weak scaling, of a step and replica."""
    amount: str


@dataclass(frozen=True)
class Group:
    """A family with the measurements it was made of, row by row."""

    setting: Setting
    family: Family
    members: list[Measured]
    base: Measured | None

    @property
    def pairs(self) -> list[tuple[Measured, StudyRow]]:
        """Measurements with their rows."""
        return list(zip(self.members, self.family.rows, strict=True))

    @property
    def base_name(self) -> str:
        """What speedups are over, in a few words."""
        if self.base is None:
            return "nothing"
        case = self.base.case
        return "plain serial" if self.base.is_serial and not is_bare(case) else called(case)


def groups_of(runs: Sequence[BenchRun]) -> list[Group]:
    """All runs, sorted into families; equal records (a directory given twice) count once."""
    settings: dict[Setting, dict[str, list[BenchRun]]] = {}
    for run in {run.model_dump_json(): run for run in runs}.values():
        settings.setdefault(setting_of(run), {}).setdefault(run.case.key, []).append(run)
    cases = {
        setting: [measured(found) for found in by_case.values()] for setting, by_case in settings.items()
    }
    return [
        group_of(setting, _name(setting, list(cases)), cases[setting])
        for setting in sorted(cases, key=_order)
    ]


def group_of(setting: Setting, name: str, members: Sequence[Measured]) -> Group:
    """Work out one family."""
    base = _base(members)
    ordered = sorted(members, key=lambda found: (found is not base, *_place(found.case)))
    ordered.sort(key=lambda found: found.case.kind == "copies")
    rows = [row_of(found, base) for found in ordered]
    curve = {found.case.workers: found.costs for found in ordered if found.is_data_parallel}
    family = Family(
        name=name,
        scaling=setting.scaling,
        base=_base_in_words(base),
        rows=rows,
        fits=fit_laws(curve) if setting.kind == 0 and setting.scaling == "strong" else [],
        trend=_trend([row for found, row in zip(ordered, rows, strict=True) if found.is_data_parallel]),
    )
    return Group(setting, family, ordered, base)


def setting_of(run: BenchRun) -> Setting:
    """The family a run belongs to."""
    case = run.case
    weak = case.scaling == "weak"
    return Setting(
        kind=KINDS.index("train" if case.kind == "copies" else case.kind),
        host=host_name(run.host),
        data=run.data_digest,
        device=case.device,
        scaling=case.scaling,
        engine=case.engine,
        model=case.model,
        precision=case.precision,
        batch_size=case.batch_size // _replicas(case) if weak else case.batch_size,
        # In weak scaling the amount grows with the ranks; only what kind of amount it is stays the same.
        amount=" ".join(sorted(run.amount)) if weak else json.dumps(run.amount, sort_keys=True),
    )


def host_name(host: Host) -> str:
    """What makes a machine another one; its load and its software do not."""
    gpu = f", {host.gpu}" if host.gpu else ""
    return f"{host.cpu_model}, {many(host.cores, 'core')}, {host.memory_mb / 1024:.0f} GB{gpu}"


def _order(setting: Setting) -> Setting:
    """LSTM, the default, before GRU; all else by the alphabet and by size."""
    return setting._replace(model=f"{setting.model != 'lstm'}{setting.model}")


def _replicas(case: Case) -> int:
    return axes(case)[0] * case.copies


def _place(case: Case) -> tuple[int, ...]:
    """By layout, then threads: one rank, data parallel, model parallel, both."""
    return case.ranks, axes(case)[1], case.threads_per_rank, case.engine_workers, int(case.collectives)


def _base(members: Sequence[Measured]) -> Measured | None:
    """Plain serial training, else the fewest cores, the simplest first."""
    able = [found for found in members if found.counts]
    return min(
        able, key=lambda found: (not found.is_serial, found.case.workers, *_place(found.case)), default=None
    )


def _base_in_words(base: Measured | None) -> str:
    if base is None:
        return "nothing: no case of this family can serve as a base"
    case = base.case
    if is_bare(case):
        return called(case) + (", the fewest in the table" if case.workers > 1 else "")
    if base.is_serial or case.kind != "train":
        return called(case)
    return f"{called(case)}, the smallest measured: {many(case.workers, 'core')}, not plain serial"


def _name(setting: Setting, others: Sequence[Setting]) -> str:
    """The setting as a heading; what is the same in the whole study and plain to see is left out."""
    kind = KINDS[setting.kind]
    if kind == "train":
        rows = many(setting.batch_size, "row") + " a step"
        parts = [
            setting.model.upper(),
            rows + (" and rank, weak scaling" if setting.scaling == "weak" else ""),
        ]
    else:
        what = {"prepare": "Preparation", "predict": "Prediction"}[kind]
        parts = [f"{what} with {setting.engine or 'sentiscale'}", setting.model.upper()]
        parts += [many(setting.batch_size, "row") + " at once"] if setting.batch_size else []
    parts += [setting.precision, "" if setting.device == "cpu" else f"on the {_device(setting.device)}"]
    alike = [other for other in others if other.kind == setting.kind]
    for name in ("amount", "host", "data"):
        if len({getattr(other, name) for other in alike if other.scaling == setting.scaling}) > 1:
            parts.append(_detail(name, getattr(setting, name)))
    return ", ".join(part for part in parts if part)


def _device(device: str) -> str:
    return DEVICES.get(device, device)


def _detail(name: str, value: str) -> str:
    if name == "data":
        return f"data {value[:8] or 'unknown'}"
    if name == "host":
        return value
    if not value.startswith("{"):
        return ""
    amount = json.loads(value)
    if "target_accuracy" in amount:
        return f"to accuracy {amount['target_accuracy']:g}"
    return " ".join(f"{number:,} {what}" for what, number in amount.items() if isinstance(number, int))


def _trend(rows: Sequence[StudyRow]) -> str:
    """What the serial shares say as the number of cores grows."""
    from scipy.stats import kendalltau

    points = sorted((row.workers, row.karp_flatt) for row in rows if row.karp_flatt is not None)
    if not points:
        return ""
    (least, first), (most, last) = points[0], points[-1]
    cores = "workers" if is_bare(rows[0].case) else "cores"
    if len(points) == 1:
        return f"One point only: a serial share of {figure(first)} at {least} {cores}; a trend needs two."
    spread = max(share for _, share in points) - min(share for _, share in points)
    order = kendalltau(*zip(*points, strict=True)).statistic
    ends = f"from {figure(first)} at {least} {cores} to {figure(last)} at {most}"
    if spread >= NOTABLE and order >= CLEAR_ORDER:
        return (
            f"The serial share rises {ends}: the overhead grows with the number of {cores} (exchange, "
            "waiting, memory they share). A fixed serial part (Amdahl's law) does not explain it."
        )
    if spread >= NOTABLE and order <= -CLEAR_ORDER:
        return (
            f"The serial share falls {ends}: the cost of going parallel at all weighs less with more of them."
        )
    if spread < NOTABLE:
        return f"The serial share stays about the same, {ends}: a fixed serial part, as in Amdahl's law."
    return f"The serial share goes up and down, {ends}: noise, or something besides their number was changed."


NOTABLE = 0.02
"""Difference of serial shares below which they count as the same."""
CLEAR_ORDER = 0.6
"""Kendall's rank correlation from which a trend is one."""
