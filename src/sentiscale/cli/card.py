"""`sentiscale card`: write a model card, which describes a model, its scores and its limits."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json

NAME = typer.Option(help="Name of the model.", show_default="name of the run")
LANGUAGE = typer.Option(help="Language of the reviews, such as en; a run does not record it.")
LICENSE = typer.Option(help="Licence of the model, such as apache-2.0.")
DATA = typer.Option(help="Prepared data, if moved since training.")
REVIEWS = typer.Option(metavar="FILE", help="Labelled table with a category column, for scores by category.")


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, or its model directory.")],
    out: Annotated[
        Path | None, typer.Option(metavar="CARD.md", help="File to write.", show_default="print it")
    ] = None,
    name: Annotated[str | None, NAME] = None,
    language: Annotated[str | None, LANGUAGE] = None,
    license: Annotated[str | None, LICENSE] = None,  # noqa: A002 - the flag's name
    data: Annotated[Path | None, DATA] = None,
    reviews: Annotated[Path | None, REVIEWS] = None,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Category column of --reviews.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Describe a trained model: data, scores with intervals, scores by slice, limits, cost and usage.

    Writes Markdown with the front matter that model hubs read. To score the slices, it predicts the test
    split again.
    """
    from sentiscale.report.card import CardChoices, make_card, markdown
    from sentiscale.util.atomic import check_output, write_file
    from sentiscale.util.terminal import make_progress

    if out is not None:
        check_output(out, replace=force)
    choices = CardChoices(name, language, license, data, reviews, by)
    found = make_card(run, choices, make_progress(quiet))
    text = markdown(found)
    if out is not None:
        write_file(out, text)
    if as_json:
        print_json({"out": out, **found.model_dump(mode="json")})
    elif out is None:
        sys.stdout.write(text)
    else:
        print(f"{out}: model card of {found.name}, {len(found.slices)} groups of slices")
