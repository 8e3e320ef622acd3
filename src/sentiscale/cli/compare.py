"""`sentiscale compare`: compare accuracy and training time with other classifiers on the same data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    SetOption,
    comma_separated,
    print_json,
    print_table,
    whole_numbers,
)
from sentiscale.errors import UsageError
from sentiscale.study.compare.contestants import CONTESTANTS

if TYPE_CHECKING:
    from sentiscale.study.compare.comparison import Comparison
    from sentiscale.study.compare.summary import CompareRow

DEFAULT_MODELS = "fast,balanced,lstm,gru,tfidf-lr"
LIMIT = typer.Option(help="Seconds of training after which sentiscale and the recurrent peers stop.")
THREADS = typer.Option(min=1, help="Threads per run.", show_default="all cores")
LAYOUT = typer.Option(help="Layout of sentiscale's runs, replicas x stages.", show_default="as in `train`")
STEPS = typer.Option(min=1, help="Time only this many training steps; measures speed, not accuracy.")


def compare(
    data: Annotated[Path, typer.Argument(help="Prepared data, written by `sentiscale prepare`.")],
    models: Annotated[str, typer.Option(help="Contestants, separated by commas.")] = DEFAULT_MODELS,
    out: Annotated[
        Path,
        typer.Option(help="Directory for records and the plot; an unfinished comparison in it is resumed."),
    ] = Path("compare"),
    seeds: Annotated[
        str, typer.Option(help="Seeds, separated by commas; each contestant runs once per seed.")
    ] = "0,1,2",
    time_limit: Annotated[float | None, LIMIT] = None,
    threads: Annotated[int | None, THREADS] = None,
    layout: Annotated[str, LAYOUT] = "",
    steps: Annotated[int | None, STEPS] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare accuracy and training time of presets and peers on the same data."""
    from sentiscale.config import resolve
    from sentiscale.records import Host, available_cores
    from sentiscale.study.compare.comparison import compare as run_comparison
    from sentiscale.study.compare.records import CompareConditions
    from sentiscale.util.terminal import make_progress

    if time_limit is not None and time_limit <= 0:
        raise UsageError(f"--time-limit is {time_limit:g}; it must be above 0 seconds.")
    if layout not in ("", "auto"):
        from sentiscale.parallel.layout import Layout

        Layout.parse(layout)
    conditions = CompareConditions(
        threads=threads or available_cores(), layout=layout, time_limit=time_limit, steps=steps
    )
    host = Host.current()
    comparison = run_comparison(
        data,
        comma_separated(models),
        out=out,
        seeds=whole_numbers("--seeds", seeds, least=0),
        conditions=conditions,
        settings=resolve(config=config, overrides=overrides or ()),
        progress=make_progress(quiet),
    )
    if as_json:
        print_json(document(comparison, host.model_dump()))
    else:
        print_comparison(comparison)


compare.__doc__ = "\n".join(
    [
        "Compare accuracy and training time of presets and peers on the same data.\n\nContestants:\n\n\b",
        *(f"{name:17} {contestant.about}" for name, contestant in CONTESTANTS.items()),
    ]
)


def document(comparison: "Comparison", host: dict[str, Any]) -> dict[str, Any]:
    """JSON document of `--json`."""
    return {
        "data": str(comparison.data),
        "host": host,
        "rows": [row.model_dump() for row in comparison.rows],
        "runs": [run.model_dump(mode="json") for run in comparison.runs],
        "plot": str(comparison.plot) if comparison.plot else None,
    }


COLUMNS = ("contestant", "test accuracy", "min-max", "validation", "train s", "core s", "reviews/s", "seeds")
MORE_SCORES = {"macro_f1": "macro F1", "mae": "MAE", "quadratic_kappa": "kappa"}
"""Scores on the test split that are printed for three or more classes, and their columns."""
SPEED_COLUMNS = ("contestant", "reviews/s", "min-max", "of the fastest", "projected s", "repeats")


def print_comparison(comparison: "Comparison") -> None:
    rows = sorted(
        comparison.rows, key=lambda row: (row.train_seconds_median or 0.0, -(row.rows_per_s or 0.0))
    )
    if all(row.test_accuracy_median is None for row in rows):
        fastest = max(row.rows_per_s or 0.0 for row in rows)
        print_table(SPEED_COLUMNS, [speed_cells(row, fastest) for row in rows], left={"contestant"})
    else:
        more = [name for name in MORE_SCORES if name in rows[0].test_scores_median] * (comparison.classes > 2)
        columns = (*COLUMNS, *(MORE_SCORES[name] for name in more))
        table = [cells(row) + [f"{row.test_scores_median[name]:.4f}" for name in more] for row in rows]
        print_table(columns, table, left={"contestant"})
    if comparison.plot:
        print(f"picture: {comparison.plot}")


def cells(row: "CompareRow") -> list[str]:
    test, least, most = row.test_accuracy_median, row.test_accuracy_min, row.test_accuracy_max
    projected = f"({row.projected_seconds:,.0f} projected)" if row.projected_seconds else "-"
    return [
        row.name,
        "-" if test is None else f"{test:.4f}",
        "-" if least is None or most is None else f"{least:.4f}-{most:.4f}",
        "-" if row.valid_accuracy_median is None else f"{row.valid_accuracy_median:.4f}",
        projected if row.train_seconds_median is None else f"{row.train_seconds_median:,.1f}",
        "-" if row.core_seconds_median is None else f"{row.core_seconds_median:,.1f}",
        "-" if row.rows_per_s is None else f"{row.rows_per_s:,.0f}",
        str(len(row.seeds)),
    ]


def speed_cells(row: "CompareRow", fastest: float) -> list[str]:
    speed, least, most = row.rows_per_s or 0.0, row.rows_per_s_min or 0.0, row.rows_per_s_max or 0.0
    return [
        row.name,
        f"{speed:,.1f}",
        f"{least:,.1f}-{most:,.1f}",
        f"1/{fastest / speed:.1f}" if speed else "-",
        f"{row.projected_seconds:,.0f}" if row.projected_seconds else "-",
        str(len(row.seeds)),
    ]
