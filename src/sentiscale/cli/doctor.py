"""`sentiscale doctor`: check that this machine has what sentiscale needs."""

from typing import Annotated

import typer

from sentiscale.cli.options import JsonOption, QuietOption, print_json


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip the speed tests and start no processes: 4 s instead of 15.")
    ] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Check cores, memory, disk, PyTorch and its fast code paths, and suggest remedies.

    The exit code is 1 when a check finds a problem; warnings do not count.
    """
    from sentiscale.doctor import doctor as examine_machine
    from sentiscale.util.terminal import make_progress

    report = examine_machine(quick=quick, progress=make_progress(quiet or json))
    if json:
        print_json(report.model_dump())
    else:
        for check in report.checks:
            print(f"{check.status:<8} {check.name:<12} {check.detail}")
            if check.remedy:
                print(f"{'':<21} → {check.remedy}")
    if report.status == "problem":
        raise typer.Exit(1)
