"""Families beside each other: models, batch sizes, precisions, devices, engines, and accuracy."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations

from sentiscale.analysis.advice import choose
from sentiscale.analysis.families import KINDS, Group, Setting
from sentiscale.analysis.intervals import ratio_interval
from sentiscale.analysis.phrases import DEVICES, ratio
from sentiscale.analysis.report_words import case_name, figure, joined, many, per_cent
from sentiscale.analysis.speedup import Measured, peak_memory
from sentiscale.analysis.study import StudyRow

UNLIKE_WORK = (
    " They did not do the same work: sentiscale prepares completely (splits, vocabulary, token ids, checks), "
    "all others only clean and drop equal texts; sentiscale-clean is what compares with them."
)


def comparisons(groups: Sequence[Group]) -> list[str]:
    """Sentences about all that differs between families and was measured in the same cases."""
    trained = [group for group in groups if group.setting.kind == 0]
    return [
        *_devices(trained),
        *_batch_sizes(trained),
        *_models(trained),
        *_precisions(trained),
        *_accuracies(trained),
        *_engines(groups, "prepare", "Preparation"),
        *_engines(groups, "predict", "Prediction"),
    ]


def _together(groups: Sequence[Group], neglecting: Callable[[Setting], Hashable]) -> Iterator[list[Group]]:
    """Families that are alike in what is not neglected, two or more at a time."""
    found: dict[Hashable, list[Group]] = {}
    for group in groups:
        found.setdefault(neglecting(group.setting), []).append(group)
    yield from (alike for alike in found.values() if len(alike) > 1)


def _same_case(one: Group, other: Group) -> tuple[Measured, Measured] | None:
    """The case to use in `one`, and the same case of `other`; else what both have as their base."""
    choice = choose(one)
    for found in (choice.taken if choice else None, one.base):
        twin = next((member for member in other.members if found and _spot(member) == _spot(found)), None)
        if found and twin and found.complete and twin.complete:
            return found, twin
    return None


def _spot(found: Measured) -> tuple[object, ...]:
    case = found.case
    return case.kind, case.layout, case.threads_per_rank, case.collectives, case.copies


def _quotient(slow: Measured, fast: Measured) -> str:
    """How many times as fast the second is as the first."""
    return ratio(slow.cost / fast.cost, ratio_interval(slow.costs, fast.costs))


def _row(group: Group, found: Measured) -> StudyRow:
    return next(row for member, row in group.pairs if member is found)


def _models(groups: Sequence[Group]) -> list[str]:
    """Every two models, over all settings that they share."""
    parts: dict[tuple[str, str], list[str]] = {}
    for alike in _together(groups, lambda setting: setting._replace(model="")):
        for one, other in combinations(alike, 2):
            pair = _same_case(one, other)
            if pair:
                (slow, slower), (fast, faster) = sorted(
                    zip(pair, (one, other), strict=True), key=lambda entry: -entry[0].cost
                )
                where = f"at {faster.setting.batch_size} rows a step ({case_name(fast.case)})"
                names = (faster.setting.model.upper(), slower.setting.model.upper())
                parts.setdefault(names, []).append(f"{_quotient(slow, fast)} {where}")
    return [
        f"{fast} against {slow}: {fast} goes through rows faster by a factor of {joined(found)}. "
        "That is speed alone; which of them learns more from a row is another question."
        for (fast, slow), found in parts.items()
    ]


def _precisions(groups: Sequence[Group]) -> list[str]:
    said = []
    for alike in _together(groups, lambda setting: setting._replace(precision="")):
        plain = next((group for group in alike if group.setting.precision == "fp32"), alike[0])
        for other in alike:
            pair = _same_case(plain, other) if other is not plain else None
            if pair:
                before, after = peak_memory(_row(plain, pair[0])), peak_memory(_row(other, pair[1]))
                memory = (
                    f" and takes {figure(after)} in place of {figure(before)} MB" if before and after else ""
                )
                name = plain.family.name.replace(f", {plain.setting.precision}", "")
                said.append(
                    f"{other.setting.precision} is {_quotient(*pair)} times as fast as "
                    f"{plain.setting.precision}{memory} ({name}, {case_name(pair[0].case)})."
                )
    return said


def _batch_sizes(groups: Sequence[Group]) -> list[str]:
    said = []
    for alike in _together(groups, lambda setting: setting._replace(batch_size=0)):
        parts = [text for group in alike if (text := _rates(group))]
        if len(parts) > 1:
            setting = alike[0].setting
            said.append(
                f"Batch size ({setting.model.upper()}, {setting.precision}), in rows/s: {'; '.join(parts)}."
            )
    if said:
        said[-1] += " Larger batches make fewer updates: more rows/s need not be the shorter way to a result."
    return said


def _rates(group: Group) -> str:
    """Base and best of a family, in rows a second."""
    choice, base = choose(group), group.base
    if choice is None or base is None or not _row(group, base).rows_per_s:
        return ""
    shown = [base] if choice.taken is base else [base, choice.taken]
    rates = [f"{case_name(found.case)} {figure(_row(group, found).rows_per_s)}" for found in shown]
    return f"{group.setting.batch_size} rows a step: {joined(rates)}"


def _devices(groups: Sequence[Group]) -> list[str]:
    """CPU and GPU, each at its best; the machines may differ as long as the work does not."""
    said = []
    for alike in _together(groups, lambda setting: setting._replace(device="", host="")):
        best: dict[str, Measured] = {}
        for group in alike:
            choice = choose(group)
            if choice:
                device = group.setting.device
                best[device] = min(best.get(device, choice.taken), choice.taken, key=lambda found: found.cost)
        cpu = best.pop("cpu", None)
        setting = alike[0].setting
        for device, found in best.items() if cpu else ():
            assert cpu is not None
            what = f"{setting.model.upper()}, {setting.batch_size} rows a step, {setting.precision}"
            said.append(
                f"{DEVICES.get(device, device)} against CPU ({what}): {_quotient(cpu, found)} times as fast "
                f"as the best of the CPU ({case_name(cpu.case)} on {many(cpu.case.workers, 'core')})."
            )
    return said


def _accuracies(groups: Sequence[Group]) -> list[str]:
    """Accuracy reached beside the time it took."""
    said = []
    for group in groups:
        rows = [row for row in group.family.rows if row.accuracy is not None]
        if rows:
            said.append(f"Time to accuracy, {group.family.name}: {'; '.join(map(_bought, rows))}.")
    return said


def _bought(row: StudyRow) -> str:
    missed = f" ({row.reached} of {row.repeats} reached it)" if row.reached not in (None, row.repeats) else ""
    return f"{case_name(row.case)} {row.accuracy:.4f} after {figure(row.seconds_median)} s{missed}"


def _engines(groups: Sequence[Group], kind: str, title: str) -> list[str]:
    """Preparation and prediction: every engine at its best, the fastest first."""
    of_kind = [group for group in groups if KINDS[group.setting.kind] == kind]
    alike: dict[Hashable, list[Group]] = {}
    for group in of_kind:
        alike.setdefault(group.setting._replace(engine="", batch_size=0), []).append(group)
    said = []
    for found in alike.values():
        best = [min(able, key=lambda one: one[0].cost) for group in found if (able := _timed(group))]
        best.sort(key=lambda pair: pair[0].cost)
        if best:
            best_of = (
                "every engine at its best" if len({one.case.engine for one, _ in best}) > 1 else "at its best"
            )
            shown = "; ".join(_engine(row) for _, row in best)
            (first, _), *others = best
            ahead = [
                f"{_quotient(one, first)} times as fast as {one.case.engine}"
                for one, _ in others if one.case.engine != first.case.engine
            ]  # fmt: skip
            lead = f" {first.case.engine} is {joined(ahead)}." if ahead else ""
            if kind == "prepare" and {"sentiscale"} < {one.case.engine for one, _ in best}:
                lead += UNLIKE_WORK
            said.append(f"{title}, {best_of}: {shown}.{lead}")
    return said


def _timed(group: Group) -> list[tuple[Measured, StudyRow]]:
    return [(found, row) for found, row in group.pairs if found.counts and row.rows_per_s]


def _engine(row: StudyRow) -> str:
    scaled = (
        f" ({figure(row.speedup)} times its base, efficiency {per_cent(row.efficiency)})"
        if row.speedup and row.efficiency and row.workers > 1 else ""
    )  # fmt: skip
    at_once = f", {row.case.batch_size} rows at once:" if row.case.batch_size else ""
    return f"{case_name(row.case)}{at_once} {figure(row.rows_per_s)} rows/s{scaled}"
