"""Which cases can run here: settled before anything starts."""

from sentiscale.bench.plan import Amount, Asked, LeftOut, StudyPlan, plan_of, replicas
from sentiscale.config import Settings
from sentiscale.errors import UsageError
from sentiscale.measurements import Case
from sentiscale.parallel.precision import Precision
from sentiscale.records import available_cores
from sentiscale.training.hardware import Hardware


def machine_units() -> dict[str, int]:
    """Cores and graphics processors of this machine, by device."""
    import torch

    return {"cpu": available_cores(), "cuda": torch.cuda.device_count()}


def settings_of(case: Case, settings: Settings, seed: int) -> Settings:
    """The settings a case is trained with."""
    layout = f"{case.copies}x1" if case.kind == "copies" else case.layout
    train = {
        "layout": layout,
        "threads_per_rank": case.threads_per_rank,
        "batch_size": case.batch_size,
        "precision": case.precision,
        "device": case.device,
        "oversubscribe": True,
        "seed": seed,
    }
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"cell": case.model}),
            "train": settings.train.model_copy(update=train),
        }
    )


def runnable(asked: Asked, settings: Settings, rows: int, units: dict[str, int]) -> StudyPlan:
    """The plan, without cases that cannot run here; `rows`: of the training split.

    Raises: UsageError when none is left.
    """
    plan = plan_of(asked, units)
    different = {case.key: case for case in map(with_precision, plan.cases)}
    plan = plan.model_copy(update={"cases": list(different.values())})
    why = {case.key: why_not(case, settings, asked.amount, rows) for case in plan.cases}
    cases = [case for case in plan.cases if why[case.key] is None]
    refused = [LeftOut(case=case, reason=why[case.key] or "") for case in plan.cases if why[case.key]]
    left_out = [*plan.left_out, *refused]
    if not cases:
        reasons = "\n".join(dict.fromkeys(each.reason for each in left_out))
        raise UsageError(f"none of the cases that were asked for can run here:\n{reasons}")
    return plan.model_copy(update={"cases": cases, "left_out": left_out})


def with_precision(case: Case) -> Case:
    """The case with the precision that training takes by itself, where it says auto."""
    if case.precision != "auto":
        return case
    import torch

    chosen = Precision.choose("auto", torch.device(case.device))
    return case.model_copy(update={"precision": chosen.name})


def why_not(case: Case, settings: Settings, amount: Amount, rows: int) -> str | None:
    """Why a case cannot run here, or None."""
    to_target = amount.target_accuracy is not None
    if case.batch_size > rows:
        return f"a batch of {case.batch_size:,} rows is more than the {rows:,} rows to train on"
    if replicas(case) > case.batch_size:
        return f"a batch of {case.batch_size:,} rows leaves some of {replicas(case)} replicas without any"
    if to_target and case.kind == "copies":
        return "trainings side by side are measured by steps: they do not work on one model"
    if to_target and case.collectives and case.ranks == 1:
        return "one rank that exchanges with itself is measured by steps only"
    try:
        Hardware.choose(settings_of(case, settings, 0))
    except UsageError as error:
        return str(error)
    return None
