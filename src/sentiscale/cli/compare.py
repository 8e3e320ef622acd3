"""`sentiscale compare`: accuracy against training time, ours and the peers on the same data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentiscale.cli.options import ConfigOption, JsonOption, QuietOption, SetOption, print_json
from sentiscale.errors import UsageError
from sentiscale.study.compare.contestants import CONTESTANTS

if TYPE_CHECKING:
    from sentiscale.study.compare.compare import Comparison
    from sentiscale.study.compare.summary import Row

DEFAULT_MODELS = "fast,balanced,lstm,gru,tfidf-lr"
LIMIT = typer.Option(help="Seconds of training after which those stop that can: ours, recurrent peers.")
THREADS = typer.Option(min=1, help="Threads of a run.", show_default="all cores")
LAYOUT = typer.Option(help="Replicas x stages of ours.", show_default="as `train` does")
STEPS = typer.Option(min=1, help="Time only so many training steps: speed, no accuracy.")


def compare(
    data: Annotated[Path, typer.Argument(help="Prepared data, the --out of `sentiscale prepare`.")],
    models: Annotated[str, typer.Option(help="Contestants, separated by commas.")] = DEFAULT_MODELS,
    out: Annotated[Path, typer.Option(help="Directory for records and picture; resumed.")] = Path("compare"),
    seeds: Annotated[str, typer.Option(help="One run of each contestant per seed.")] = "0,1,2",
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
    from sentiscale.cli.progress import make_progress
    from sentiscale.config import resolve
    from sentiscale.records import Host, available_cores
    from sentiscale.study.compare.compare import compare as run_comparison
    from sentiscale.study.compare.records import Conditions

    if time_limit is not None and time_limit <= 0:
        raise UsageError(f"--time-limit is {time_limit:g}; give more than 0 seconds.")
    if layout not in ("", "auto"):
        from sentiscale.parallel.layout import Layout

        Layout.parse(layout)
    conditions = Conditions(
        threads=threads or available_cores(), layout=layout, time_limit=time_limit, steps=steps
    )
    host = Host.current()
    found = run_comparison(
        data,
        [name.strip() for name in models.split(",") if name.strip()],
        out=out,
        seeds=seeds_of(seeds),
        conditions=conditions,
        settings=resolve(config=config, overrides=overrides or ()),
        progress=make_progress(quiet),
    )
    if as_json:
        print_json(document(found, host.model_dump()))
    else:
        print_table(found)


compare.__doc__ = "\n".join(
    [
        "Compare accuracy and training time of presets and peers on the same data.\n\nContestants:\n\n\b",
        *(f"{name:17} {contestant.about}" for name, contestant in CONTESTANTS.items()),
    ]
)


def seeds_of(text: str) -> list[int]:
    """The seeds of a comma-separated list.

    Raises: UsageError when it holds anything but whole numbers from 0 on.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) < 2**31 for part in parts):
        raise UsageError(f"--seeds is '{text}'; it takes whole numbers from 0 on, as in 0,1,2.")
    return [int(part) for part in parts]


def document(found: "Comparison", host: dict[str, Any]) -> dict[str, Any]:
    """What `--json` promises."""
    return {
        "data": str(found.data),
        "host": host,
        "rows": [row.model_dump() for row in found.rows],
        "runs": [run.model_dump(mode="json") for run in found.runs],
        "plot": str(found.plot) if found.plot else None,
    }


def print_table(found: "Comparison") -> None:
    """The rows for a person."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    speed_only = all(row.test_accuracy_median is None for row in found.rows)
    for title in SPEED_COLUMNS if speed_only else COLUMNS:
        table.add_column(title, justify="left" if title == "contestant" else "right")
    fastest = max(row.rows_per_s or 0.0 for row in found.rows)
    for row in sorted(
        found.rows, key=lambda row: (row.train_seconds_median or 0.0, -(row.rows_per_s or 0.0))
    ):
        table.add_row(*(speed_cells(row, fastest) if speed_only else cells(row)))
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    if found.plot:
        print(f"picture: {found.plot}")


COLUMNS = ("contestant", "test accuracy", "min-max", "validation", "train s", "core s", "reviews/s", "seeds")
SPEED_COLUMNS = ("contestant", "reviews/s", "min-max", "of the fastest", "projected s", "repeats")


def cells(row: "Row") -> list[str]:
    """A row of the table."""
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


def speed_cells(row: "Row", fastest: float) -> list[str]:
    """A row of the table where steps were timed."""
    speed, least, most = row.rows_per_s or 0.0, row.rows_per_s_min or 0.0, row.rows_per_s_max or 0.0
    return [
        row.name,
        f"{speed:,.1f}",
        f"{least:,.1f}-{most:,.1f}",
        f"1/{fastest / speed:.1f}" if speed else "-",
        f"{row.projected_seconds:,.0f}" if row.projected_seconds else "-",
        str(len(row.seeds)),
    ]
