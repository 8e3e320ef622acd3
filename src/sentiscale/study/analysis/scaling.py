"""From the runs of a bench to everything its report shows: `study_of`."""

from collections.abc import Sequence

from sentiscale.errors import DataError
from sentiscale.study.analysis.advice import main_group, recommend
from sentiscale.study.analysis.caveats import caveats_of
from sentiscale.study.analysis.conclusions import findings_of
from sentiscale.study.analysis.families import groups_of, host_name
from sentiscale.study.analysis.study import Study
from sentiscale.study.analysis.words import count
from sentiscale.study.records import BenchRun


def study_of(runs: Sequence[BenchRun]) -> Study:
    """Work out speedups, fits, a recommendation and what cannot be concluded.

    The order of runs does not matter. Runs of other machines or other data make families of their own.

    The family that the recommendation quotes comes first.

    Raises: DataError without a run, or where one took no time.
    """
    if not runs:
        raise DataError("there is no run to report on. `sentiscale bench DATA --out DIR` makes some.")
    for run in runs:
        if not 0 < run.seconds < float("inf"):
            raise DataError(f"a run of {run.case.key} took {run.seconds} seconds; a time must be above 0.")
    groups = groups_of(runs)
    trained = [group for group in groups if group.setting.kind == 0]
    main = main_group(trained)
    ordered = sorted(runs, key=lambda run: run.started_at)
    return Study(
        families=[group.family for group in sorted(groups, key=lambda group: group is not main)],
        recommendation=recommend(trained),
        findings=findings_of(groups),
        caveats=caveats_of(groups, ordered),
        hosts=list({host_name(run.host): run.host for run in ordered}.values()),
        commands=sorted({run.command for run in runs if run.command}),
        amounts=sorted({_amount(run) for run in runs if run.case.kind in ("train", "copies")}),
        versions={name: text for run in ordered for name, text in run.versions.items()},
        git_commits=sorted({run.git_commit for run in runs if run.git_commit}),
    )


def _amount(run: BenchRun) -> str:
    """How much a run did, in words."""
    target = run.amount.get("target_accuracy")
    if target is not None:
        return f"trained until {target:g} of the validation rows were right"
    if "steps" in run.amount:
        return f"{count(run.amount['steps'])} steps"
    growing = " of each replica" if run.case.scaling == "weak" else ""
    return f"{count(run.amount.get('rows', run.rows))} rows{growing}"
