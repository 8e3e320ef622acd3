"""`sentiscale demo`: run all steps, from generated reviews to predictions."""

from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import ConfigOption, JsonOption, QuietOption, SetOption, print_json


def demo(
    out: Annotated[Path, typer.Option(help="Directory for all output files.")] = Path("demo"),
    rows: Annotated[int, typer.Option(min=1000, help="Number of reviews to generate.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Generate reviews, prepare them, train, evaluate and predict, in under three minutes on two cores."""
    from sentiscale.config import preset_values, resolve
    from sentiscale.demo import demo as run_demo
    from sentiscale.util.terminal import make_progress

    base = preset_values(None)
    settings = resolve(config=config, base=base, overrides=overrides or (), flags={"train.seed": seed})
    result = run_demo(out, rows=rows, seed=seed, settings=settings, progress=make_progress(quiet))
    curves = result.out / "run" / "plots" / "curves.svg"
    if as_json:
        print_json(
            {
                "out": result.out,
                "seconds": result.seconds,
                "rows": result.rows,
                "test": result.test.model_dump(),
                "page": result.page,
                "curves": curves,
                "predictions": [{"text": text, **found.as_dict()} for text, found in result.predictions],
            }
        )
        return
    first = result.record.metrics[0]
    print()
    print(f"n-gram model alone  {first.valid_accuracy:.4f} validation accuracy after {first.seconds:.1f} s")
    print(
        f"with the network    {result.record.valid['accuracy']:.4f} after {result.record.train_seconds:.1f} s"
    )
    print(f"test accuracy       {result.test.accuracy:.4f} on {result.test.rows:,} test reviews")
    steps = ", ".join(f"{step} {spent:.1f}" for step, spent in result.seconds.items())
    print(f"seconds             {steps}")
    print()
    for text, found in result.predictions:
        print(f"{found.label:8} {found.probability:.2f}  {text}")
    print()
    print(f"reviews {result.page}    an HTML page")
    print(f"curves  {curves}")
    print(f"next    sentiscale predict {result.out}/run/model FILE    or your own data:")
    print("        sentiscale prepare reviews.csv --out data && sentiscale train data --out run")
