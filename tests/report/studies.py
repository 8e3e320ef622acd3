# ruff: noqa: E501 - tables of numbers read best in one line
"""Studies made by hand: a complete one of two cores, one of published timings, and odd ones."""

from dataclasses import replace

from sentiscale.records import Host
from sentiscale.study.analysis.fits import fit_laws
from sentiscale.study.analysis.study import Family, Recommendation, Study, StudyRow
from sentiscale.study.records import Case

HOSTILE = "<script>alert(1)</script><img/src=https://example.org/x.png>|\"'&amp;{{7*7}}`_x_`"

HOST = Host(
    cpu_model="Xeon Gold 6248",
    cores=2,
    memory_mb=7_800,
    system="Linux 6.1 x86_64",
    python="3.11.9",
    load_1m=0.1,
)

CASES = [
    # layout, exchanging, copies, threads, speedup, memory, bytes, and milliseconds by PHASES
    (
        "1x1",
        False,
        1,
        1,
        1.0,
        [612.0],
        0,
        [(1.2, 1.2), (21.4, 21.4), (38.1, 38.1), (0, 0), (0, 0), (3.1, 3.1)],
    ),
    (
        "1x1",
        True,
        1,
        1,
        0.982,
        [615.0],
        0,
        [(1.2, 1.2), (21.4, 21.4), (38.2, 38.2), (1.1, 1.1), (0, 0), (3.2, 3.2)],
    ),
    (
        "1x1",
        True,
        1,
        2,
        1.41,
        [618.0],
        0,
        [(0.7, 0.7), (14.9, 14.9), (27.0, 27.0), (0, 0), (0, 0), (2.7, 2.7)],
    ),
    (
        "2x1",
        True,
        1,
        1,
        1.83,
        [548.0, 551.0],
        812_000,
        [(0.6, 0.7), (10.6, 11.5), (19.0, 20.1), (1.3, 1.4), (0.1, 2.6), (1.6, 1.8)],
    ),
    (
        "1x2",
        True,
        1,
        1,
        1.12,
        [402.0, 377.0],
        1_640_000,
        [(0.5, 1.1), (0, 0), (30.1, 39.9), (0.4, 0.6), (14.1, 22.0), (1.2, 2.6)],
    ),
    (
        "2x2",
        True,
        1,
        1,
        0.91,
        [391.0, 366.0, 390.0, 371.0],
        1_700_000,
        [(0.6, 1.2), (0, 0), (31.0, 41.2), (2.6, 4.4), (18.2, 33.0), (1.5, 2.9)],
    ),
    (
        "1x1",
        False,
        2,
        1,
        1.92,
        [604.0, 604.0],
        0,
        [(0.6, 0.7), (11.0, 11.3), (19.6, 20.0), (0, 0), (0, 0), (1.6, 1.8)],
    ),
]
PHASES = ("data", "forward", "backward", "reduce", "waiting", "update")


def row(case: Case, speedup: float | None = 1.0, seconds: float = 10.0, **changes) -> StudyRow:
    """A row with five repeats of about 1 % spread."""
    cores = case.workers
    at_base = speedup == 1.0
    values = {
        "case": case,
        "repeats": 5,
        "disturbed": 0,
        "seconds_median": seconds,
        "seconds_ci95": (0.99 * seconds, 1.012 * seconds),
        "rows_per_s": 8192 / seconds,
        "speedup": speedup,
        "speedup_ci95": None if speedup is None or at_base else (0.98 * speedup, 1.016 * speedup),
        "efficiency": None if speedup is None else speedup / cores,
        "karp_flatt": None if speedup is None or cores == 1 else (1 / speedup - 1 / cores) / (1 - 1 / cores),
        "oversubscribed": False,
        "waiting_share": None,
        "times": {},
        "bytes_per_step": 0,
        "peak_memory_mb_per_rank": [],
        "accuracy": None,
        "reached": None,
    }
    return StudyRow(**values | changes)


def family(model: str, batch: int, serial_seconds: float, slower: float = 1.0) -> Family:
    """All cases of the default plan on two cores."""
    rows = []
    for layout, exchanging, copies, threads, speedup, memory, sent, times in CASES:
        case = Case(
            kind="copies" if copies > 1 else "train",
            layout=layout,
            collectives=exchanging,
            copies=copies,
            threads_per_rank=threads,
            batch_size=batch,
            model=model,
            precision="fp32",
        )
        gain = 1.0 if speedup == 1.0 else 1 + (speedup - 1) * slower
        phases = {name: ends for name, ends in zip(PHASES, times, strict=True) if any(ends)}
        total = sum(sum(ends) for ends in phases.values()) / 2
        shared = sum(phases.get(name, (0, 0))[1] for name in ("reduce", "waiting")) / total
        rows.append(
            row(
                case,
                gain,
                serial_seconds / gain,
                times=phases,
                bytes_per_step=sent,
                peak_memory_mb_per_rank=[value + batch / 4 for value in memory],
                oversubscribed=case.workers > 2,
                waiting_share=shared or None,
                disturbed=1 if layout == "1x2" else 0,
            )
        )
    points = {1: [serial_seconds], 2: [serial_seconds / rows[3].speedup]}
    return Family(
        name=f"{model.upper()}, {batch} rows a step, fp32",
        scaling="strong",
        base="the plain serial run (one rank, one thread, no exchange)",
        rows=rows,
        fits=fit_laws(points),
        trend="There is one Karp-Flatt share only, 0.0929 at 2 cores, so it has no trend.",
    )


def engines() -> Family:
    """Preparation with two engines."""
    rates = [("sentiscale", 1, 31_000), ("sentiscale", 2, 57_400), ("pandas", 1, 12_600), ("dask", 2, 20_900)]
    rows = [
        row(
            Case(kind="prepare", engine=engine, engine_workers=workers),
            None,
            1e6 / rate,
            rows_per_s=rate,
            efficiency=None,
            karp_flatt=None,
        )
        for engine, workers, rate in rates
    ]
    return Family("Preparation", "strong", "pandas with 1 worker", rows, [], "")


def complete() -> Study:
    """What `sentiscale bench` gives on two cores: six families and preparation."""
    families = [
        family(model, batch, seconds, slower)
        for model, base in (("lstm", 20.0), ("gru", 16.3))
        for batch, seconds, slower in ((32, 1.6 * base, 0.7), (128, base, 1.0), (512, 0.8 * base, 1.05))
    ]
    return Study(
        families=[*families, engines()],
        recommendation=Recommendation(
            "2x1",
            1,
            "2 replicas of 1 thread (--layout 2x1) are 1.83 times as fast as the serial run (1.79 to 1.86);"
            " 2 threads in one process give 1.41; more ranks than cores do not help (2x2: 0.91).",
            "Sure: five repeats in random order, and the intervals of the best two cases do not overlap.",
        ),
        findings=[
            "2x1 reaches 95 % of what two independent trainings at once get out of this machine (1.92).",
            "Sending gradients through the exchange with a single rank costs 1.8 %.",
            "Model parallelism divides memory (402 MB a rank instead of 612), not time: 1x2 is 1.12 times serial.",
            "A GRU goes through 1.23 times as many rows a second as an LSTM.",
            "512 rows a step are 2.0 times as fast as 32.",
        ],
        caveats=[
            "Two cores: what happens from 3 on was not measured. `sentiscale plan` estimates it.",
            "Nothing was measured on a GPU, so this says nothing about one.",
            "6 of 240 runs were disturbed by other processes and kept.",
        ],
        hosts=[HOST],
        commands=["sentiscale bench data --out study"],
        versions={"sentiscale": "0.1.0", "torch": "2.13.0"},
        git_commits=["0123456789abcdef"],
    )


PUBLISHED = {
    "DDP": {8: 15_796, 12: 11_626, 16: 9_372, 20: 8_575, 24: 8_108, 28: 10_683},
    "DDP + model parallel": {8: 14_926, 12: 11_501, 16: 10_612, 20: 13_565, 24: 11_021, 28: 7_784},
    "DDP + AMP": {4: 9_104, 8: 8_217, 12: 8_106},
}


def timings() -> Study:
    """The classic recipe's published times: one run a row, no serial run, seconds only."""
    families = []
    for name, times in PUBLISHED.items():
        first = min(times)
        rows = []
        for workers, seconds in times.items():
            gain = times[first] / seconds
            share = workers / first
            rows.append(
                row(
                    Case(layout=f"{workers}x1"),
                    gain,
                    seconds,
                    repeats=1,
                    seconds_ci95=None,
                    rows_per_s=0.0,
                    speedup_ci95=None,
                    efficiency=gain / share,
                    karp_flatt=None if workers == first else (1 / gain - 1 / share) / (1 - 1 / share),
                )
            )
        fits = fit_laws({workers: [seconds] for workers, seconds in times.items()})
        trend = "The Karp-Flatt share rises: the cost of working together grows."
        families.append(Family(name, "strong", f"{first} workers, not a serial run", rows, fits, trend))
    return Study(
        families=families,
        recommendation=Recommendation(
            "24x1", 1, "24 workers took the least time, 8,108 s.", "Weak: one run each."
        ),
        findings=["24 workers are 1.95 times as fast as 8: an efficiency of 65 %."],
        caveats=[
            "One run each: nothing tells chance from effect.",
            "The base is 8 workers, not a serial run.",
        ],
        hosts=[],
    )


def hostile() -> Study:
    """Markup and code wherever a string can come from outside."""
    study = complete()
    bad = replace(
        engines(),
        name=HOSTILE,
        base=HOSTILE,
        trend=HOSTILE,
        rows=[row(Case(kind="prepare", engine=HOSTILE, engine_workers=2), None), *engines().rows],
    )
    named = replace(study.families[0], name=HOSTILE, base=HOSTILE, trend=HOSTILE)
    return replace(
        study,
        families=[named, bad],
        recommendation=Recommendation("2x1", 1, HOSTILE, HOSTILE),
        findings=[HOSTILE],
        caveats=[HOSTILE],
        commands=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        git_commits=[HOSTILE],
        hosts=[HOST.model_copy(update={"cpu_model": HOSTILE})],
    )


def targets() -> Study:
    """Trainings up to a target accuracy."""
    study = complete()
    rows = [
        replace(r, accuracy=0.921 + r.workers / 2000, reached=5, seconds_median=61 / (r.speedup or 1))
        for r in study.families[1].rows[:4]
    ]
    return replace(study, families=[replace(study.families[1], rows=rows)])


def alone() -> Study:
    """One row and nothing else."""
    case = Case(layout="1x1", collectives=False, batch_size=128, model="lstm", precision="fp32")
    rows = [row(case, 1.0, repeats=1, seconds_ci95=None)]
    family = Family("LSTM, 128 rows a step, fp32", "strong", "the serial run", rows, [], "")
    return Study([family], None, [], ["One case: there is nothing to compare it with."], [HOST])


def without_base() -> Study:
    """Rows that have nothing to be compared with."""
    study = complete()
    rows = [
        replace(r, speedup=None, speedup_ci95=None, efficiency=None, karp_flatt=None)
        for r in study.families[0].rows[3:5]
    ]
    bare = replace(study.families[0], rows=rows, fits=[], trend="", base="nothing: no serial run")
    return replace(study, families=[bare], recommendation=None, findings=[])


def wide() -> Study:
    """A machine of 32 cores, weak and strong, with all kinds of cases and more than are easily labelled."""
    rows = []
    for layout, threads, exchanging, gain in [
        ("1x1", 1, False, 1.0),
        ("1x1", 1, True, 0.97),
        ("1x1", 2, True, 1.6),
        ("1x1", 4, True, 2.4),
        ("1x1", 8, True, 2.9),
        ("1x1", 32, True, 2.2),
        ("2x1", 1, True, 1.9),
        ("4x1", 1, True, 3.6),
        ("8x1", 1, True, 6.6),
        ("16x1", 1, True, 10.9),
        ("32x1", 1, True, 12.7),
        ("8x1", 4, True, 13.9),
        ("1x2", 1, True, 1.2),
        ("4x2", 1, True, 4.3),
        ("16x2", 1, True, 9.8),
        ("64x1", 1, True, 8.0),
    ]:
        case = Case(
            layout=layout,
            threads_per_rank=threads,
            collectives=exchanging,
            batch_size=512,
            model="lstm",
            precision="bf16",
        )
        rows.append(row(case, gain, 100 / gain, oversubscribed=case.workers > 32))
    for copies, gain in ((2, 1.96), (8, 7.4), (32, 19.8)):
        case = Case(
            kind="copies", copies=copies, collectives=False, batch_size=512, model="lstm", precision="bf16"
        )
        rows.append(row(case, gain, 100 / gain))
    points = {r.workers: [r.seconds_median] for r in rows[6:11]} | {1: [100.0]}
    strong = Family(
        "LSTM, 512 rows a step, bf16", "strong", "the serial run", rows, fit_laws(points), "It rises."
    )
    return replace(complete(), families=[strong, replace(strong, name="the same, weak", scaling="weak")])
