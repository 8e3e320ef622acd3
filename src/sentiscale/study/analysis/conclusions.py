"""What a study found about layouts: ceiling, cost of the exchange, model parallel, more cores, a GPU."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations

from sentiscale.study.analysis.advice import choose, is_candidate, main_group
from sentiscale.study.analysis.families import KINDS, Group, Setting
from sentiscale.study.analysis.fits import AMDAHL, STRETCH, USL, speedup_range
from sentiscale.study.analysis.intervals import ratio_interval
from sentiscale.study.analysis.speedup import Measured, peak_memory
from sentiscale.study.analysis.study import Fit, Interval, StudyRow
from sentiscale.study.analysis.words import (
    DEVICES,
    axes,
    case_name,
    figure,
    in_one,
    is_ddp_of_one,
    joined,
    many,
    per_cent,
    ratio,
)

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
                for one, _ in others
                if one.case.engine != first.case.engine
            ]
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
        if row.speedup and row.efficiency and row.workers > 1
        else ""
    )
    at_once = f", {row.case.batch_size} rows at once:" if row.case.batch_size else ""
    return f"{case_name(row.case)}{at_once} {figure(row.rows_per_s)} rows/s{scaled}"


Pair = tuple[Measured, StudyRow]


def findings_of(groups: Sequence[Group]) -> list[str]:
    """Sentences about everything the runs allow to say, the most important first."""
    main = main_group([group for group in groups if group.setting.kind == 0])
    about_layouts = []
    if main:
        parts = (_threads, _ceiling, _one_rank, _stages, _exchange, _weak)
        about_layouts = [sentence for part in parts for sentence in part(main)]
    questions = [*_more_cores(main), *_gpu(groups)] if main else []
    return [*about_layouts, *comparisons(groups), *questions]


def _usable(group: Group) -> list[Pair]:
    """Trainings of more than one core that may be compared."""
    return [
        (found, row)
        for found, row in group.pairs
        if found.case.kind == "train" and found.counts and row.speedup and found.case.workers > 1
    ]


def _threads(group: Group) -> list[str]:
    """The best number of ranks against the same cores as threads of one process."""
    threads = [pair for pair in _usable(group) if pair[0].case.ranks == 1]
    ranks = [pair for pair in _usable(group) if pair[0].case.ranks > 1]
    if not threads or not ranks:
        return []
    (thread, with_threads), (rank, with_ranks) = (
        min(pairs, key=lambda pair: pair[0].cost) for pairs in (threads, ranks)
    )
    ends = ratio_interval(thread.costs, rank.costs)
    quotient = thread.cost / rank.cost
    if ends and ends[0] <= 1 <= ends[1]:
        verdict = "the two cannot be told apart"
    elif quotient > 1:
        verdict = f"ranks are {ratio(quotient, ends)} times as fast"
    else:
        verdict = f"threads are {ratio(1 / quotient, _turned(ends))} times as fast"
    return [
        f"Ranks or threads: {case_name(rank.case)} gives {figure(with_ranks.speedup or 0)} and "
        f"{in_one(thread.case)} give {figure(with_threads.speedup or 0)} times {group.base_name}; {verdict}."
    ]


def _turned(ends: Interval | None) -> Interval | None:
    return (1 / ends[1], 1 / ends[0]) if ends else None


def _ceiling(group: Group) -> list[str]:
    """How much of what independent copies reach the parallel layouts get."""
    copies = [(found, row) for found, row in group.pairs if found.case.kind == "copies" and row.speedup]
    copies = [pair for pair in copies if not pair[0].oversubscribed]
    said = []
    for found, row in sorted(copies, key=lambda pair: pair[0].case.workers)[-1:]:
        cores = found.case.workers
        sentence = (
            f"The machine's own ceiling: {found.case.copies} independent trainings at once, which exchange "
            f"nothing, reach {ratio(row.speedup or 0, row.speedup_ci95)} times {group.base_name} on "
            f"{cores} cores."
        )
        rivals = [one for one, _ in _usable(group) if one.case.workers == cores and one.case.ranks > 1]
        if rivals:
            best = min(rivals, key=lambda one: one.cost)
            sentence += f" {case_name(best.case)} gets {_of_ceiling(found, best)}"
        said.append(sentence)
    return said


def _of_ceiling(copies: Measured, best: Measured) -> str:
    share = copies.cost / best.cost
    ends = ratio_interval(copies.costs, best.costs)
    if share >= 1 or (ends and ends[1] >= 1):
        missing = f"what is missing to {copies.case.copies} is the machine's, not the exchange's"
        return f"{per_cent(share)} of it: {missing}."
    return (
        f"{per_cent(share)} of it: working together costs {per_cent(1 - share)}, the rest is the machine's."
    )


def _one_rank(group: Group) -> list[str]:
    """What the exchange costs before there is anybody to exchange with."""
    alone = next((row for row in group.family.rows if is_ddp_of_one(row.case)), None)
    if alone is None or not alone.speedup or group.base is None or not group.base.is_serial:
        return []
    ends = alone.speedup_ci95
    if ends and ends[0] <= 1 <= ends[1]:
        return [
            f"DDP with one rank is as fast as plain serial: {ratio(alone.speedup, ends)} times its speed."
        ]
    cost, spread = 1 / alone.speedup - 1, ""
    if ends:  # both on the same side of 1
        low, high = sorted(abs(1 / end - 1) * 100 for end in ends)
        spread = f" ({low:.1f} to {high:.1f} %)"
    said = f"{abs(cost) * 100:.1f} % {'more' if cost >= 0 else 'less'} time than plain serial{spread}"
    return [f"DDP with one rank takes {said}: the price of the exchange."]


def _stages(group: Group) -> list[str]:
    """Model parallel: what it does to time and to memory."""
    alone = next((peak_memory(row) for found, row in group.pairs if found is group.base), 0.0)
    said = []
    staged = [pair for pair in _usable(group) if axes(pair[0].case)[0] == 1 and axes(pair[0].case)[1] > 1]
    for found, row in sorted(staged, key=lambda pair: pair[0].cost)[:1]:
        sentence = (
            f"Model parallel ({case_name(found.case)}) gives {ratio(row.speedup or 0, row.speedup_ci95)} "
            f"times {group.base_name} on {found.case.workers} cores"
        )
        said.append(sentence + _memory(row, alone) + ".")
    return said


def _memory(row: StudyRow, alone: float) -> str:
    if not row.peak_memory_mb_per_rank or not alone:
        return ""
    each = joined([figure(mb) for mb in row.peak_memory_mb_per_rank])
    said = f", and its ranks take {each} MB where one process takes {figure(alone)}"
    divides_time = (row.efficiency or 0.0) > WELL_USED
    if peak_memory(row) > WELL_DIVIDED * alone:
        return said + ": of a model this small there is little memory to divide"
    return said + (": they divide both" if divides_time else ": they divide memory, not time")


WELL_USED = 0.7
"""Efficiency from which time counts as divided."""
WELL_DIVIDED = 0.8
"""Share of one process's memory up to which memory counts as divided."""


def _exchange(group: Group) -> list[str]:
    """The share of exchange and waiting, and what is sent."""
    fastest = sorted(_usable(group), key=lambda pair: pair[0].cost)
    rows = [row for found, row in fastest if row.waiting_share is not None and found.case.ranks > 1][
        :MOST_SHOWN
    ]
    if not rows:
        return []
    parts = []
    for row in rows:
        sent = f" ({figure(row.bytes_per_step / 1e6)} MB sent a step)" if row.bytes_per_step else ""
        parts.append(f"{per_cent(row.waiting_share or 0)} in {case_name(row.case)}{sent}")
    return [f"Exchange and waiting for other ranks take, on the rank with the most of it, {joined(parts)}."]


MOST_SHOWN = 4


def _weak(group: Group) -> list[str]:
    if group.family.scaling != "weak":
        return []
    return ["This is weak scaling: the batch grows with the ranks, and so does what a step learns from."]


def _more_cores(group: Group) -> list[str]:
    """What twice and many times the cores would bring, as far as the fitted law goes."""
    fits = {fit.model: fit for fit in group.family.fits}
    fit = fits[USL] if USL in fits and not fits[USL].caveat else fits.get(AMDAHL)
    if fit is None or group.base is None:
        return ["What more cores would bring cannot be said: a law needs two numbers of cores or more."]
    limit = fit.trusted_up_to
    middle, ends = speedup_range(fit, limit, group.base.case.workers)
    counts = sorted({found.case.workers for found in group.members if found.is_data_parallel})
    law = "Amdahl's law" if fit.model == AMDAHL else "the universal scalability law"
    sentence = (
        f"What more cores would bring: {law}, fitted to {joined([str(count) for count in counts])} cores, "
        f"gives {ratio(middle, ends)} times {group.base_name} at {limit} cores"
        + (f", with care: {fit.caveat}." if fit.caveat else ".")
        + f" It goes no further, {STRETCH} times the most that was measured."
    )
    return [sentence + _beyond(limit) + _best(fit)]


def _beyond(limit: int) -> str:
    wanted = next((cores for cores in (16, 32, 64, 128) if cores > limit), None)
    if wanted is None:
        return ""
    return (
        f" For {wanted} cores these runs have no answer of their own: `sentiscale plan` with --workers "
        f"{wanted} computes one from the costs of a step, and says how far to trust it."
    )


def _best(fit: Fit) -> str:
    if fit.best_workers is None or fit.best_workers > fit.trusted_up_to:
        return ""
    return f" The law has its maximum at {fit.best_workers:.0f} cores."


def _gpu(groups: Sequence[Group]) -> list[str]:
    """Whether a GPU is worth it, where nothing was measured on one; sidebyside.py compares where it was."""
    trained = [group for group in groups if group.setting.kind == 0]
    if any(group.setting.device != "cpu" for group in trained):
        return []
    fastest = _fastest(trained)
    speed = f" It would have to beat {fastest}." if fastest else ""
    return [
        f"Is a GPU worth it: nothing was measured on one, so this study cannot say.{speed} Run the same "
        "`sentiscale bench` on a machine that has one, and give `sentiscale report` both directories."
    ]


def _fastest(groups: Sequence[Group]) -> str:
    found = []
    for group in groups:
        found += [
            (row.rows_per_s, case_name(row.case), group.family.name)
            for one, row in group.pairs
            if is_candidate(one) and row.rows_per_s
        ]
    if not found:
        return ""
    speed, case, name = max(found)
    return f"{figure(speed)} rows/s, the most this study reached ({case}; {name})"
