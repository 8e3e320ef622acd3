"""Read a table of timings, `workers,seconds[,strategy]` with one run per line, and analyse it as a study."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiscale.errors import DataError, did_you_mean
from sentiscale.study.analysis.caveats import law_caveats, repeat_caveats
from sentiscale.study.analysis.families import make_family
from sentiscale.study.analysis.fits import ENOUGH_POINTS
from sentiscale.study.analysis.recommendation import best_case
from sentiscale.study.analysis.speedup import karp_flatt, timed_row
from sentiscale.study.analysis.study import Family, FamilyKey, Recommendation, Study, StudyRow
from sentiscale.study.analysis.wording import phrase
from sentiscale.study.records import LONGEST, SHORTEST, Case
from sentiscale.util.files import read_bytes
from sentiscale.util.numbers import joined, many
from sentiscale.util.templates import Finding, finding

COLUMNS = ("workers", "seconds", "strategy")
REQUIRED = COLUMNS[:2]
UNNAMED = "all runs"
MOST_DIGITS = 8
MAX_TABLE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class TimedRun:
    workers: int
    """Number of workers, such as cores, GPUs or processes."""
    seconds: float
    strategy: str
    """Name of the strategy. Speedups are computed among runs with the same strategy."""


def read_timings(path: Path) -> list[TimedRun]:
    """Read a CSV file with the columns `workers,seconds[,strategy]`.

    Several lines with the same workers and strategy are repeats. Lines that start with # are comments.

    Raises: DataError with the file and the line number if the table is not valid.
    """
    try:
        text = read_bytes(path, MAX_TABLE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. --timings takes a CSV file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. --timings takes a CSV file.") from error
    lines = {
        number: line
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    if not lines:
        raise DataError(f"{path} is empty. It needs a header '{','.join(REQUIRED)}' and one line per run.")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines.values())]
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}.") from error
    places = [f"{path}:{number}" for number in lines]
    header = _header(places[0], rows[0])
    runs = [_timed_run(place, header, row) for place, row in zip(places[1:], rows[1:], strict=False)]
    if not runs:
        raise DataError(f"{path} has a header but no runs. Add one line per run, such as '8,120.5'.")
    return runs


def _header(place: str, cells: Sequence[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    for name in REQUIRED:
        if name not in names:
            close = next((hint for cell in names if (hint := did_you_mean(cell, [name]))), "")
            raise DataError(
                f"{place} has the columns '{','.join(cells)}' and no '{name}'; the first line must be "
                f"'workers,seconds' or 'workers,seconds,strategy'.{close}"
            )
    if not set(names) <= set(COLUMNS) or len(set(names)) < len(names):
        raise DataError(
            f"{place} has the columns '{','.join(cells)}'; allowed, once each: {joined(COLUMNS)}."
        )
    return names


def _timed_run(place: str, header: Sequence[str], cells: Sequence[str]) -> TimedRun:
    if len(cells) != len(header):
        raise DataError(
            f"{place} has {many(len(cells), 'column')}; the header has {len(header)}. "
            "Complete the line, or remove it."
        )
    row = dict(zip(header, cells, strict=True))
    workers, seconds = row["workers"], _number(row["seconds"])
    if not (workers.isascii() and workers.isdecimal() and len(workers) <= MOST_DIGITS and int(workers) > 0):
        raise DataError(f"{place}: workers is '{workers}'; it must be a whole number of at least 1.")
    if not SHORTEST <= seconds <= LONGEST:
        raise DataError(
            f"{place}: seconds is '{row['seconds']}'; it must be a number from {SHORTEST:g} to "
            f"{LONGEST:g}, such as 120.5."
        )
    return TimedRun(int(workers), seconds, row.get("strategy") or UNNAMED)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def study_of_timings(runs: Sequence[TimedRun]) -> Study:
    """Compute the speedups of each strategy relative to its run with the fewest workers.

    The recommended strategy comes first, then the others in the order of the table.

    Raises: DataError if there are no runs.
    """
    if not runs:
        raise DataError("there are no timings to report on. Give lines of workers,seconds[,strategy].")
    families = _families(runs)
    # Relative difference between the slowest and the fastest repeat of each repeated run.
    repeated = [row.costs for family in families for row in family.rows if row.repeats > 1]
    spread = sorted(costs[-1] / costs[0] - 1 for costs in repeated)
    noise = spread[-1] if spread else 0.0
    candidates = [(family, best.taken) for family in families if (best := best_case(family))]
    # A strategy further up in the table counts as simpler. It is preferred if its best case is slower by less
    # than the difference between repeats of the same run.
    fastest = min((row.cost for _, row in candidates), default=0.0)
    chosen = next(((family, row) for family, row in candidates if row.cost <= fastest * (1 + noise)), None)
    findings = [found for family in families for found in _findings(family)]
    if sum(len(family.rows) for family in families) < 2:
        chosen = None
    if spread:
        findings.append(finding("spread", least=spread[0], most=noise))
    return Study(
        families=sorted(families, key=lambda family: family is not (chosen and chosen[0])),
        recommendation=_recommend(candidates, chosen, noise),
        findings=phrase(*findings),
        caveats=phrase(*_caveats(families, noise)),
        hosts=[],
    )


def _families(runs: Sequence[TimedRun]) -> list[Family]:
    table: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        table.setdefault(run.strategy, {}).setdefault(run.workers, []).append(run.seconds)
    return [
        make_family(
            FamilyKey(engine=strategy),
            strategy,
            [timed_row(Case(layout=f"{workers}x1"), seconds) for workers, seconds in by_workers.items()],
        )
        for strategy, by_workers in table.items()
    ]


def _recommend(
    candidates: Sequence[tuple[Family, StudyRow]], chosen: tuple[Family, StudyRow] | None, noise: float
) -> Recommendation | None:
    if chosen is None:
        return None
    family, taken = chosen
    others = [(other, row) for other, row in candidates if other is not family]
    as_good = [row for row in family.rows if row is not taken and row.cost <= taken.cost * (1 + noise)]
    confidence = finding(
        "timings_confidence",
        noise=noise,
        taken=taken,
        as_good=[row.workers for row in as_good],
        faster_elsewhere=[other.name for other, row in others if row.cost < taken.cost],
    )
    return Recommendation(
        layout=taken.case.layout,
        threads=1,
        why=phrase(finding("timings_reason", family=family, taken=taken, others=others))[0],
        confidence=phrase(confidence)[0],
    )


def _findings(family: Family) -> Iterator[Finding]:
    """The best number of workers of a strategy, as measured and as predicted by the fitted law."""
    fastest = min(family.rows, key=lambda row: (row.cost, row.workers))
    base = family.base_row
    if base is None or len(family.rows) < 2:
        return
    laws = [fit for fit in family.fits if fit.best_workers and fit.points >= ENOUGH_POINTS[fit.model]]
    yield finding(
        "best_workers", family=family, row=fastest, laws=laws, over_single=_over_single(fastest, base)
    )
    if fastest is not base and family.trend:
        yield finding("family_trend", family=family)


def _over_single(row: StudyRow, base: StudyRow) -> list[dict[str, object]]:
    """Speedups relative to the fastest and the slowest of the base's repeats."""
    if base.repeats == 1 or row is base:
        return []
    cores = row.workers / base.workers
    speedups = {"faster": base.costs[0] / row.cost, "slower": base.costs[-1] / row.cost}
    return [
        {"run": name, "speedup": speedup, "efficiency": speedup / cores, "share": karp_flatt(speedup, cores)}
        for name, speedup in speedups.items()
    ]


def _caveats(families: Sequence[Family], noise: float) -> Iterator[Finding]:
    rows = [row for family in families for row in family.rows]
    if len(rows) == 1:
        yield finding("one_count")
    by_base: dict[int, list[str]] = {}
    for family in families:
        if family.base_row and family.base_row.workers > 1:
            by_base.setdefault(family.base_row.workers, []).append(family.name)
    for workers, names in by_base.items():
        yield finding("base_of_several", workers=workers, families=names)
    yield from repeat_caveats(rows)
    for family in families:
        yield from _erratic(family, noise)
    if len(families) > 1:
        yield finding("several_strategies")
    yield finding("only_times")
    yield from law_caveats(families)


def _erratic(family: Family, noise: float) -> Iterator[Finding]:
    """Yield a finding if times fall, rise and fall again with more workers, which no scaling law explains."""
    rows = sorted(family.rows, key=lambda row: row.workers)
    for place, row in enumerate(rows[1:-1], 1):
        before = min(one.cost for one in rows[:place])
        after = min(one.cost for one in rows[place + 1 :])
        if row.cost > max(before, after) * (1 + noise):
            yield finding("erratic", family=family, row=row)
            return
