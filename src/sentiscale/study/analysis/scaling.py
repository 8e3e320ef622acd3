"""Compute everything that a report shows from the runs of `bench`."""

from collections.abc import Sequence

from sentiscale.errors import DataError
from sentiscale.study.analysis.caveats import caveats_of
from sentiscale.study.analysis.families import families_of, host_name
from sentiscale.study.analysis.findings import findings_of
from sentiscale.study.analysis.recommendation import main_family, recommend
from sentiscale.study.analysis.study import Study
from sentiscale.study.analysis.wording import phrase
from sentiscale.study.records import BenchRun
from sentiscale.util.numbers import count


def study_of(runs: Sequence[BenchRun]) -> Study:
    """Compute speedups, fits, a recommendation, findings and caveats.

    The order of the runs does not matter. Runs on different machines or data form separate families.

    Raises: DataError if there are no runs.
    """
    if not runs:
        raise DataError("there are no runs to report on. Create some with `sentiscale bench DATA --out DIR`.")
    families = families_of(runs)
    trained = [family for family in families if family.key.kind == "train"]
    main = main_family(trained)
    ordered = sorted(runs, key=lambda run: run.started_at)
    return Study(
        families=sorted(families, key=lambda family: family is not main),
        recommendation=recommend(trained),
        findings=phrase(*findings_of(families)),
        caveats=phrase(*caveats_of(families, ordered)),
        hosts=list({host_name(run.host): run.host for run in ordered}.values()),
        commands=sorted({run.command for run in runs if run.command}),
        amounts=sorted({_amount(run) for run in runs if run.case.kind in ("train", "copies")}),
        versions={name: text for run in ordered for name, text in run.versions.items()},
        git_commits=sorted({run.git_commit for run in runs if run.git_commit}),
    )


def _amount(run: BenchRun) -> str:
    target = run.amount.get("target_accuracy")
    if target is not None:
        return f"trained until {target:g} of the validation rows were right"
    if "steps" in run.amount:
        return f"{count(run.amount['steps'])} steps"
    growing = " of each replica" if run.case.scaling == "weak" else ""
    return f"{count(run.amount.get('rows', run.rows))} rows{growing}"
