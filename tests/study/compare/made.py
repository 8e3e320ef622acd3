"""Runs made by hand, for tables and pictures."""

from sentiscale.records import Host, now
from sentiscale.study.compare.records import CompareConditions, CompareRun, CurvePoint

HOST = Host(cpu_model="x", cores=2, memory_mb=1, system="Linux", python="3.11", load_1m=0.0)
Curve = tuple[tuple[float, float], ...]


def run(model: str, seed: int = 0, seconds: float | None = 10.0, test: float | None = 0.9, **more: object):
    """A finished run; `curve` is pairs of seconds and accuracy, `valid` an accuracy."""
    curve: Curve = more.pop("curve", ())  # type: ignore[assignment]
    valid = more.pop("valid", test)
    return CompareRun(
        model=model,
        seed=seed,
        recipe={},
        conditions=CompareConditions(threads=2),
        data_digest="d",
        started_at=now(),
        process_seconds=1.0,
        host=HOST,
        train_seconds=seconds,
        test=None if test is None else {"accuracy": test},
        valid=None if valid is None else {"accuracy": valid},
        curve=[CurvePoint(seconds=at, valid_accuracy=accuracy) for at, accuracy in curve],
        **more,
    )
